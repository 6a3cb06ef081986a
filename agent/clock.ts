/** Time as the agent sees it. Everything timed in the agent is timed by the one clock it was given. */
export interface Clock {
  /** Wall clock in microseconds since the Unix epoch; a safe integer, steady between two steps of the host's clock. */
  unixUs(): number;
  /** Calls `fire` once, not before `delayMs` milliseconds; the returned function prevents that. Keeps no process alive. */
  after(delayMs: number, fire: () => void): () => void;
}
