import { Worker } from "node:worker_threads";
import { addTotals, noTotals, type Totals } from "./totals.ts";
import type { BreakRule } from "./world/break-rules.ts";
import type { Violation } from "./world/invariants.ts";

/** What a run leaves behind is garbage at its end: with room for many runs little of it is ever copied. */
const YOUNG_GENERATION_MB = 300;

export interface SimulationOptions {
  readonly runs: number;
  /** Of the first run; each next one has the next. */
  readonly seed: number;
  readonly workers: number;
  readonly rule: BreakRule | undefined;
}

export interface SimulationResult {
  readonly totals: Totals;
  readonly failure: { readonly seed: number; readonly violation: Violation } | null;
}

/** What a worker tells. */
export type WorkerWord =
  | { readonly t: "totals"; readonly totals: Totals }
  | { readonly t: "violated"; readonly seed: number; readonly violation: Violation };

/** Plays the runs on all workers; ends with the first broken invariant. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { runs, seed, workers, rule } = options;
  const totals = noTotals();
  let failure: SimulationResult["failure"] = null;
  const script = new URL("./simulation-worker.js", import.meta.url);
  const threads = Array.from(
    { length: Math.min(workers, runs) },
    (_, index) =>
      new Worker(script, {
        workerData: { first: seed + index, step: workers, end: seed + runs, rule },
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      }),
  );
  await Promise.all(
    threads.map(
      (thread) =>
        new Promise<void>((resolve, reject) => {
          thread.on("message", (word: WorkerWord) => {
            if (word.t === "totals") addTotals(totals, word.totals);
            else {
              if (failure === null || word.seed < failure.seed) failure = word;
              for (const other of threads) if (other !== thread) other.postMessage("stop");
            }
          });
          thread.on("error", reject);
          thread.on("exit", () => resolve());
        }),
    ),
  );
  return { totals, failure };
}
