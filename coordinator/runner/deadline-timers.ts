import type { Clock } from "../clock.ts";
import type { Deadline } from "../migration/deadlines.ts";
import type { DeadlineName } from "../migration/migration-event.ts";

/** The timers of one migration: one a deadline, which keeps running while the state still has that deadline. */
export class DeadlineTimers {
  readonly #clock: Clock;
  readonly #onPassed: (name: DeadlineName) => void;
  readonly #cancels = new Map<DeadlineName, () => void>();

  constructor(clock: Clock, onPassed: (name: DeadlineName) => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  /** Starts what is new and stops what is no longer waited for. */
  set(deadlines: readonly Deadline[]): void {
    for (const [name, cancel] of this.#cancels) {
      if (deadlines.some((deadline) => deadline.name === name)) continue;
      cancel();
      this.#cancels.delete(name);
    }
    for (const { name, atUnixUs } of deadlines) {
      if (this.#cancels.has(name)) continue;
      const delayMs = Math.max(0, Math.ceil((Number(atUnixUs) - this.#clock.unixUs()) / 1_000));
      const cancel = this.#clock.after(delayMs, () => {
        this.#cancels.delete(name);
        this.#onPassed(name);
      });
      this.#cancels.set(name, cancel);
    }
  }

  clear(): void {
    this.set([]);
  }
}
