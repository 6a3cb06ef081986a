const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** How long, for a person: "4.1 s", "3 min 20 s", "2 h 5 min"; below zero counts as nothing. Pure. */
export function durationText(ms: number): string {
  const positiveMs = Math.max(0, ms);
  if (positiveMs < MINUTE_MS) return `${(Math.floor(positiveMs / 100) / 10).toFixed(1)} s`;
  const minutes = Math.floor(positiveMs / MINUTE_MS);
  if (positiveMs < HOUR_MS) return `${minutes} min ${Math.floor((positiveMs % MINUTE_MS) / 1_000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
