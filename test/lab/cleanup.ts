/**
 * What a lab made and must remove: namespaces, processes, directories.
 *
 * Each thing is registered as soon as it exists, with two ways to remove it: an orderly one that waits, and
 * an immediate one for a process that is about to exit and can no longer wait for anything.
 */
export interface Cleanup {
  /** Names the thing in the error when its removal fails. */
  readonly label: string;
  run(): Promise<void>;
  /** Synchronous and best effort: nobody is left to hear of a failure. */
  runNow(): void;
}

export class CleanupRegistry {
  readonly #pending: Cleanup[] = [];

  /** Registers a removal and returns how to forget it, for things that are removed before the lab closes. */
  add(cleanup: Cleanup): () => void {
    this.#pending.push(cleanup);
    return () => {
      const index = this.#pending.indexOf(cleanup);
      if (index >= 0) this.#pending.splice(index, 1);
    };
  }

  /** Removes everything, the newest first, and tries each one. Throws an AggregateError naming what stayed. */
  async runAll(): Promise<void> {
    const failures: Error[] = [];
    for (let cleanup = this.#pending.at(-1); cleanup !== undefined; cleanup = this.#pending.at(-1)) {
      try {
        await cleanup.run();
      } catch (cause) {
        failures.push(new Error(`${cleanup.label} was not removed.`, { cause }));
      }
      // Only now: a process that exits meanwhile must still find it.
      this.#pending.splice(this.#pending.lastIndexOf(cleanup), 1);
    }
    if (failures.length > 0) throw new AggregateError(failures, "A lab left something behind.");
  }

  /** The last resort, from a process's `exit` event. */
  runAllNow(): void {
    for (let cleanup = this.#pending.pop(); cleanup !== undefined; cleanup = this.#pending.pop()) {
      try {
        cleanup.runNow();
      } catch {
        // The process is exiting: the remaining removals matter more than this one's reason.
      }
    }
  }
}
