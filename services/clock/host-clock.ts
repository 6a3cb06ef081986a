import koffi from "koffi";

const CLOCK_REALTIME = 0;

/** The host's clock, as both the agent and the coordinator take one. */
export interface HostClock {
  /** CLOCK_REALTIME, the clock of QEMU's event times. Microseconds, Unix. */
  unixUs(): number;
  /** Calls `fire` once, not before `delayMs` milliseconds; the returned function prevents that. Keeps no process alive. */
  after(delayMs: number, fire: () => void): () => void;
}

/**
 * Reads CLOCK_REALTIME itself, 0.1 us a call: `Date.now()` is too coarse to order the steps of a switchover, and
 * `performance.timeOrigin + performance.now()` does not follow when the host's clock is set.
 */
export function openHostClock(): HostClock {
  const clockGettime = koffi.load("libc.so.6").func("int clock_gettime(int clock, _Out_ int64_t *timespec)");
  const timespec = new BigInt64Array(2);
  return {
    unixUs: () => {
      clockGettime(CLOCK_REALTIME, timespec);
      return Number(timespec[0]) * 1_000_000 + Math.floor(Number(timespec[1]) / 1000);
    },
    after: fireAfter,
  };
}

function fireAfter(delayMs: number, fire: () => void): () => void {
  const dueAtMs = performance.now() + delayMs;
  let timer: NodeJS.Timeout;
  const arm = (waitMs: number): void => {
    timer = setTimeout(() => {
      // Node counts from the start of its loop's turn, so that a timer may come up to a millisecond early.
      const earlyMs = dueAtMs - performance.now();
      if (earlyMs > 0) arm(earlyMs);
      else fire();
    }, Math.ceil(waitMs));
    timer.unref();
  };
  arm(delayMs);
  return () => clearTimeout(timer);
}
