import koffi from "koffi";

const CLOCK_REALTIME = 0;
const clockGettime = koffi.load("libc.so.6").func("int clock_gettime(int clock, _Out_ int64_t *timespec)");
const timespec = new BigInt64Array(2);

/**
 * The wall clock in microseconds since 1970 (clock_gettime, CLOCK_REALTIME).
 * QEMU's event times, `bridge -timestamp` and packet captures come from the same clock, so that their
 * records can be laid side by side; `Date.now()` is too coarse for that, and `performance` drifts from it.
 */
export function unixMicros(): number {
  clockGettime(CLOCK_REALTIME, timespec);
  return Number(timespec[0] ?? 0n) * 1_000_000 + Math.floor(Number(timespec[1] ?? 0n) / 1000);
}
