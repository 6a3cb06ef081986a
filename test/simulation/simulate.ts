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
  /** Default: "stop", with all that is under way. */
  readonly atFailure?: "stop" | "go on" | undefined;
  /** Called again and again, with the totals so far. */
  readonly onProgress?: ((totals: Totals) => void) | undefined;
  /** Called as soon as one is found. */
  readonly onFailure?: ((failure: Failure) => void) | undefined;
}

/** A run in which an invariant broke. */
export interface Failure {
  readonly seed: number;
  readonly violation: Violation;
}

export interface SimulationResult {
  readonly totals: Totals;
  /** The lowest seed first. */
  readonly failures: readonly Failure[];
}

/** What a worker tells. */
export type WorkerWord =
  | { readonly t: "totals"; readonly totals: Totals }
  | ({ readonly t: "violated" } & Failure);

/** Plays the runs on all workers: all of them, or until an invariant breaks. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { runs, seed, workers, rule, atFailure = "stop", onProgress, onFailure } = options;
  const totals = noTotals();
  const failures: Failure[] = [];
  const script = new URL("./simulation-worker.js", import.meta.url);
  const threads = Array.from(
    { length: Math.min(workers, runs) },
    (_, index) =>
      new Worker(script, {
        workerData: { first: seed + index, step: workers, end: seed + runs, rule, atFailure },
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      }),
  );
  await Promise.all(
    threads.map(
      (thread) =>
        new Promise<void>((resolve, reject) => {
          thread.on("message", (word: WorkerWord) => {
            if (word.t === "totals") {
              addTotals(totals, word.totals);
              onProgress?.(totals);
              return;
            }
            const failure = { seed: word.seed, violation: word.violation };
            failures.push(failure);
            onFailure?.(failure);
            if (atFailure === "go on") return;
            for (const other of threads) if (other !== thread) other.postMessage("stop");
          });
          thread.on("error", reject);
          thread.on("exit", () => resolve());
        }),
    ),
  );
  return { totals, failures: failures.sort((left, right) => left.seed - right.seed) };
}
