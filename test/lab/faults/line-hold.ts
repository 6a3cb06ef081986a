import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../command.ts";
import { withDeadline } from "../deadline.ts";
import type { AgentProgram } from "../managed/cluster.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { TrackedProcess } from "../tracked-process.ts";

/** The environment variable that names an agent's FIFO. */
export const RELEASE_FIFO = "SWITCHOVER_LAB_RELEASE_FIFO";
const HOOKED_AGENT = join(import.meta.dirname, "hooked-agent.js");
const ANSWER_TIMEOUT_MS = 5_000;

/** One agent's hold: from the test's side. */
export class LineHold {
  readonly #fifo: string;
  #heard: (line: string) => void = () => {};

  private constructor(fifo: string) {
    this.#fifo = fifo;
  }

  /** Makes the FIFO in the directory. */
  static async create(directory: string, host: string): Promise<LineHold> {
    const fifo = join(directory, `release-${host}`);
    await runCommand("mkfifo", [fifo]);
    return new LineHold(fifo);
  }

  /** What the cluster is to run as the host's agent. */
  get program(): AgentProgram {
    return {
      file: HOOKED_AGENT,
      env: { [RELEASE_FIFO]: this.#fifo },
      onLine: (line) => this.#heard(line),
    };
  }

  /** Arms the hold; the result resolves with the time when the agent stands at the line, which may be never. */
  async hold(agent: TrackedProcess, line: string): Promise<{ readonly reached: Promise<number> }> {
    let reach: (atUnixUs: number) => void = () => {};
    const reached = new Promise<number>((resolve) => {
      reach = resolve;
    });
    await this.#ask(agent, line, () => reach(unixMicros()));
    return { reached };
  }

  /** Lets the agent go on from the line; without effect for one that was killed there. */
  release(): void {
    try {
      const fd = openSync(this.#fifo, constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(fd, "\n");
      closeSync(fd);
    } catch (thrown) {
      // Nobody has it open for reading.
      if ((thrown as NodeJS.ErrnoException).code !== "ENXIO") throw thrown;
    }
  }

  async #ask(agent: TrackedProcess, line: string, onHeld: () => void): Promise<void> {
    const armed = new Promise<void>((resolve) => {
      this.#heard = (said) => {
        if (said === `holding ${line}`) resolve();
        if (said === `held ${line}`) onHeld();
      };
    });
    agent.stdin.write(`hold ${line}\n`);
    await withDeadline(armed, ANSWER_TIMEOUT_MS, `An answer of ${agent.label} to "hold ${line}"`);
  }
}
