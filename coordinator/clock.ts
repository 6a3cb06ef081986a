/** Time as the coordinator sees it. Everything timed in the coordinator is timed by the one clock it was given. */
export interface Clock {
  /** Wall clock in microseconds since the Unix epoch; a safe integer, steady between two steps of the host's clock. */
  unixUs(): number;
  /** Calls `fire` once, not before `delayMs` milliseconds; the returned function prevents that. Keeps no process alive. */
  after(delayMs: number, fire: () => void): () => void;
}
