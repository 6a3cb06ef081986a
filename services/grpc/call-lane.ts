import { SwitchoverError } from "../../proto/error.ts";

/** How many calls of one method run at a time, and how many more wait for their turn. */
export interface LaneLimits {
  readonly running: number;
  readonly waiting: number;
}

/** Long enough for a lane to drain that is not stuck. */
const RETRY_AFTER_MS = 1_000;

/**
 * Calls of one method, in the order in which they came: so many run, so many wait, and the next is refused before
 * anything was done for it. Each method has a lane of its own, so that a flood of one keeps out no other.
 */
export class CallLane {
  readonly #method: string;
  readonly #limits: LaneLimits;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(method: string, limits: LaneLimits) {
    this.#method = method;
    this.#limits = limits;
  }

  /** How many have begun. */
  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Calls `begin` at once or when its turn has come; whoever has begun calls `leave` at its end. The returned function
   * takes a call that still waits out of the queue, and does nothing else. Throws RESOURCE_EXHAUSTED / OVERLOADED, with
   * the time to wait.
   */
  enter(begin: () => void): () => void {
    const { running, waiting } = this.#limits;
    if (this.#running < running) {
      this.#running += 1;
      begin();
      return () => {};
    }
    if (this.#waiting.size >= waiting) throw this.#overloaded();
    this.#waiting.add(begin);
    return () => void this.#waiting.delete(begin);
  }

  /** One that had begun is over: the next one's turn. */
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  #overloaded(): SwitchoverError {
    const { running, waiting } = this.#limits;
    return new SwitchoverError(
      "RESOURCE_EXHAUSTED",
      `${running} calls of ${this.#method} run and ${waiting} wait: ask again in ${RETRY_AFTER_MS} ms.`,
      {
        reason: "OVERLOADED",
        metadata: { method: this.#method, running: String(running), waiting: String(waiting) },
        retryAfterMs: RETRY_AFTER_MS,
      },
    );
  }
}
