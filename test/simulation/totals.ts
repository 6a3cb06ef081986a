import type { RunReport } from "./world/run.ts";

/** What many runs amount to. */
export interface Totals {
  runs: number;
  steps: number;
  checks: number;
  readonly faults: Record<string, number>;
}

export function noTotals(): Totals {
  return { runs: 0, steps: 0, checks: 0, faults: {} };
}

export function countRun(totals: Totals, { steps, checks, faults }: RunReport): void {
  totals.runs += 1;
  totals.steps += steps;
  totals.checks += checks;
  for (const kind of faults) totals.faults[kind] = (totals.faults[kind] ?? 0) + 1;
}

export function addTotals(to: Totals, { runs, steps, checks, faults }: Totals): void {
  to.runs += runs;
  to.steps += steps;
  to.checks += checks;
  for (const [kind, count] of Object.entries(faults)) to.faults[kind] = (to.faults[kind] ?? 0) + count;
}

/** The one line that a simulation ends with. */
export function totalsLine({ runs, steps, checks, faults }: Totals, seconds: number, broken: number): string {
  const kinds = Object.entries(faults).sort(([left], [right]) => left.localeCompare(right));
  const all = kinds.reduce((sum, [, count]) => sum + count, 0);
  const named = kinds.map(([kind, count]) => `${kind} ${count}`).join(", ");
  return `${runs} runs, ${steps} steps, ${all} faults (${named}), ${checks} checks of invariants, ${broken} broken, ${seconds.toFixed(1)} s`;
}
