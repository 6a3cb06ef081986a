import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { SwitchoverError } from "../../../proto/error.ts";
import type { FaultCell } from "./fault-cell.ts";
import type { Attempt } from "./fault-runner.ts";

const PROGRAM = fileURLToPath(new URL("./lab-program.js", import.meta.url));

/** Runs each of `cells`, in labs side by side; tells each attempt as it ends. Throws where a lab's program dies. */
export async function runSideBySide(
  cells: readonly FaultCell[],
  labs: number,
  logsTo: string | undefined,
  tell: (attempt: Attempt) => void,
): Promise<void> {
  const waiting = [...cells];
  const lanes = Array.from({ length: labs }, async () => {
    const program = fork(PROGRAM, logsTo === undefined ? [] : [logsTo]);
    const ended = once(program, "exit");
    try {
      for (let cell = waiting.shift(); cell !== undefined; cell = waiting.shift()) {
        tell(await runIn(program, cell));
      }
    } finally {
      if (program.connected) program.disconnect();
      await ended;
    }
  });
  await Promise.all(lanes);
}

/** The runner in the program bounds each run by itself. */
function runIn(program: ChildProcess, cell: FaultCell): Promise<Attempt> {
  return new Promise((resolve, reject) => {
    const die = () =>
      reject(
        new SwitchoverError("INTERNAL", `The lab's program died in ${cell.name}.`, { reason: "LAB_DIED" }),
      );
    program.once("exit", die);
    program.once("message", (attempt) => {
      program.off("exit", die);
      resolve(attempt as Attempt);
    });
    program.send(cell.name);
  });
}
