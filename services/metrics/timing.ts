/**
 * Seconds, from a netlink batch to a stop that everybody notices; finest where the promises are (1, 2, 3, 5 and 20 ms).
 * What is beyond the last counts in `+Inf`.
 */
export const SWITCHOVER_BUCKETS_S: readonly number[] = [
  0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  5, 10, 30,
];

/** Seconds, for what lasts as long as a transfer. */
export const LONG_BUCKETS_S: readonly number[] = [
  0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400,
];

/**
 * The one probe for everything that is timed: how often something took how long.
 *
 * Recording counts in place and allocates nothing, so that it may stand beside a hot path; whoever times something often
 * keeps its Timing and asks nobody for it. Never throws.
 */
export class Timing {
  readonly #boundsS: readonly number[];
  /** How many fell between each bound and the one before it, and beyond the last. */
  readonly #counts: Float64Array;
  #sumS = 0;

  constructor(boundsS: readonly number[]) {
    this.#boundsS = boundsS;
    this.#counts = new Float64Array(boundsS.length + 1);
  }

  /** Seconds in all. */
  get sumS(): number {
    return this.#sumS;
  }

  /** How many took up to each bound, then all: what Prometheus calls cumulative. */
  cumulated(): readonly number[] {
    let sum = 0;
    return Array.from(this.#counts, (count) => (sum += count));
  }

  /** What is below zero, as where a clock was set back, counts as nothing at all. */
  record(seconds: number): void {
    const bounds = this.#boundsS;
    let index = 0;
    while (index < bounds.length && seconds > (bounds[index] ?? 0)) index += 1;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    if (seconds > 0) this.#sumS += seconds;
  }

  /** As `record`, for what began then by `performance.now()`. */
  recordSince(beganMs: number): void {
    this.record((performance.now() - beganMs) / 1_000);
  }

  /** Times the work until its promise is settled, whichever way. */
  async time<T>(work: () => Promise<T>): Promise<T> {
    const beganMs = performance.now();
    try {
      return await work();
    } finally {
      this.recordSince(beganMs);
    }
  }
}
