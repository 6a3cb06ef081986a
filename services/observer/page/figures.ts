/** How figures and times are written. Pure. */

/** Microseconds as milliseconds, to the microsecond, as receipts print them; "–" where it is not known. */
export function milliseconds(us: number | null): string {
  return us === null ? "–" : (us / 1_000).toFixed(3);
}

/** A duration for a glance: "12 ms", "3.4 s", "5 min", "2 h", "3 d". */
export function roughly(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 86_400_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / 86_400_000)} d`;
}

/** "2026-11-30 20:15:04", of the reader's own time zone. */
export function timeText(atMs: number): string {
  const at = new Date(atMs);
  const two = (part: number): string => String(part).padStart(2, "0");
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
