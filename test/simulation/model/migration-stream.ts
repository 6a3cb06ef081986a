import type { Timeline } from "../engine/timeline.ts";

const BYTES_PER_US = 100;

/** What two QEMUs are connected by: it flows, moves nothing for a while, or is broken for good. */
export class MigrationStream {
  readonly #timeline: Timeline;
  #state: "flowing" | "stalled" | "broken" = "flowing";
  /** What waits for it to flow. */
  readonly #held: (() => void)[] = [];
  #flowingSinceUs: number;
  #flowedUs = 0;
  readonly #isInUse: () => boolean;

  /** `isInUse`: whether anything is sent through it, which is counted then. */
  constructor(timeline: Timeline, isInUse: () => boolean) {
    this.#timeline = timeline;
    this.#isInUse = isInUse;
    this.#flowingSinceUs = timeline.nowUs;
  }

  get state(): "flowing" | "stalled" | "broken" {
    return this.#state;
  }

  transferredBytes(): number {
    return Math.round((this.#flowedUs + this.#flowingUs()) * BYTES_PER_US);
  }

  /** Takes in what has flowed so far. */
  countFlow(): void {
    this.#flowedUs += this.#flowingUs();
    this.#flowingSinceUs = this.#timeline.nowUs;
  }

  /** Nothing gets through until `flow`. */
  stall(): void {
    if (this.#state !== "flowing") return;
    this.countFlow();
    this.#state = "stalled";
  }

  flow(): void {
    if (this.#state !== "stalled") return;
    this.#state = "flowing";
    this.#flowingSinceUs = this.#timeline.nowUs;
    for (const work of this.#held.splice(0)) work();
  }

  /** What waited for it never happens. */
  break(): void {
    this.countFlow();
    this.#state = "broken";
    this.#held.length = 0;
  }

  connectAnew(): void {
    this.#state = "flowing";
    this.#flowingSinceUs = this.#timeline.nowUs;
  }

  /** At once where it flows, once it does where it stands still, never where it is broken. */
  whenFlowing(work: () => void): void {
    if (this.#state === "flowing") work();
    else if (this.#state === "stalled") this.#held.push(work);
  }

  #flowingUs(): number {
    return this.#state === "flowing" && this.#isInUse() ? this.#timeline.nowUs - this.#flowingSinceUs : 0;
  }
}
