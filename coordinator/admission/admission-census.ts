import type { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { AdmissionPlan, Standing } from "./plan-admission.ts";
import type { RecordedGuests } from "./recorded-guests.ts";
import type { SlotTable } from "./slot-table.ts";

/**
 * What all migrations of the cloud are at, as one coordinator has heard; the same at every one that has heard all. Each is
 * counted when it is asked for.
 */
export interface AdmissionCensus {
  /** Open migrations; looks at every guest with a record. */
  phases(): ReadonlyMap<Phase, number>;
  /** Those in line, by what they wait for. */
  waiting(): ReadonlyMap<Standing["waitsFor"], number>;
  slotsUsed(): number;
}

export function takeCensus(
  guests: Pick<RecordedGuests, "all">,
  plan: AdmissionPlan,
  slots: Pick<SlotTable, "size">,
): AdmissionCensus {
  return {
    phases: () => {
      const phases = new Map<Phase, number>();
      for (const [, { phase }] of guests.all()) if (!isTerminal(phase)) addTo(phases, phase);
      return phases;
    },
    waiting: () => {
      const waiting = new Map<Standing["waitsFor"], number>();
      for (const { waitsFor } of plan.waiting.values()) addTo(waiting, waitsFor);
      return waiting;
    },
    slotsUsed: () => slots.size,
  };
}

function addTo<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
