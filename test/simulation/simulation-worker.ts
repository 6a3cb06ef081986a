import { parentPort, workerData } from "node:worker_threads";
import type { WorkerWord } from "./simulate.ts";
import { countRun, noTotals } from "./totals.ts";
import { type BreakRule, breakageOf } from "./world/break-rules.ts";
import { generateSchedule } from "./world/generate-schedule.ts";
import { runSchedule } from "./world/run.ts";

/** After so many runs it is told how far they are. */
const RUNS_A_WORD = 1_000;

const { first, step, end, rule, atFailure } = workerData as {
  readonly first: number;
  readonly step: number;
  readonly end: number;
  readonly rule: BreakRule | undefined;
  readonly atFailure: "stop" | "go on";
};

// Nobody reads the stacks of the many errors that are meant to happen here; the run that fails is played again.
Error.stackTraceLimit = 0;

let totals = noTotals();
const tell = (word: WorkerWord) => parentPort?.postMessage(word);
let stop = false;
parentPort?.on("message", () => {
  stop = true;
});

for (let seed = first; seed < end && !stop; seed += step) {
  const report = await runSchedule(generateSchedule(seed), breakageOf(rule));
  countRun(totals, report);
  if (totals.runs === RUNS_A_WORD) {
    tell({ t: "totals", totals });
    totals = noTotals();
  }
  if (report.violation === null) continue;
  tell({ t: "violated", seed, violation: report.violation });
  if (atFailure === "stop") break;
}
tell({ t: "totals", totals });
parentPort?.close();
