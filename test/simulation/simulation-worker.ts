import { parentPort, workerData } from "node:worker_threads";
import type { WorkerWord } from "./simulate.ts";
import { countRun, noTotals } from "./totals.ts";
import { type BreakRule, breakageOf } from "./world/break-rules.ts";
import { generateSchedule } from "./world/generate-schedule.ts";
import { runSchedule } from "./world/run.ts";

const { first, step, end, rule } = workerData as {
  readonly first: number;
  readonly step: number;
  readonly end: number;
  readonly rule: BreakRule | undefined;
};

// Nobody reads the stacks of the many errors that are meant to happen here; the run that fails is played again.
Error.stackTraceLimit = 0;

const totals = noTotals();
const tell = (word: WorkerWord) => parentPort?.postMessage(word);
let stop = false;
parentPort?.on("message", () => {
  stop = true;
});

for (let seed = first; seed < end && !stop; seed += step) {
  const report = await runSchedule(generateSchedule(seed), breakageOf(rule));
  countRun(totals, report);
  if (report.violation === null) continue;
  tell({ t: "violated", seed, violation: report.violation });
  break;
}
tell({ t: "totals", totals });
parentPort?.close();
