import { FAULT_CELLS } from "./fault-cells.ts";
import { FaultRunner } from "./fault-runner.ts";

/**
 * A program with one lab: runs the cells whose names its parent sends, and sends what came of each. Ends with its
 * parent's channel, its lab with it. A lab needs a process of its own, for the process moves into the lab's network.
 */
const [logsTo] = process.argv.slice(2);
const runner = new FaultRunner(logsTo === undefined ? {} : { logsTo });
process.on("message", async (name) => {
  const cell = FAULT_CELLS.find((candidate) => candidate.name === name);
  if (cell === undefined) throw new Error(`There is no cell ${name}.`);
  process.send?.(await runner.run(cell));
});
process.on("disconnect", async () => {
  await runner.close();
  process.exit();
});
