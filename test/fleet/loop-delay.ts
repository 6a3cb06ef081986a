const EVERY_MS = 10;

/**
 * How late this process is: by how much each of its timers, one every 10 ms, comes too late. What a process measures
 * with its own clock is late by as much, whoever caused it.
 */
export class LoopDelay {
  #delaysMs: number[] = [];
  #dueMs = performance.now() + EVERY_MS;

  constructor() {
    this.#wait();
  }

  /** Those since the last time. Milliseconds. */
  take(): readonly number[] {
    const delaysMs = this.#delaysMs;
    this.#delaysMs = [];
    return delaysMs;
  }

  #wait(): void {
    setTimeout(() => {
      const nowMs = performance.now();
      this.#delaysMs.push(Math.max(0, Math.round((nowMs - this.#dueMs) * 100) / 100));
      this.#dueMs = nowMs + EVERY_MS;
      this.#wait();
    }, EVERY_MS).unref();
  }
}
