import {
  type AdmissionLimits,
  DEFAULT_ADMISSION_LIMITS,
} from "../../coordinator/admission/admission-limits.ts";
import { MOVES_KEPT, type MoveBudget } from "../../coordinator/record/move-budget.ts";
import { parseWhole } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { withDefault } from "../config/setting.ts";

const { perSource, perDestination, inAll, queued } = DEFAULT_ADMISSION_LIMITS;

/** How many migrations may be under way, and wait. All coordinators of one NATS should have the same. */
export const ADMISSION_SETTINGS = {
  "max-migrations-per-source": withDefault(parseWhole(1, 10_000), String(perSource), {
    placeholder: "N",
    help: "How many may leave one host at a time; the others wait in PENDING",
  }),
  "max-migrations-per-destination": withDefault(parseWhole(1, 10_000), String(perDestination), {
    placeholder: "N",
    help: "How many may come to one host at a time",
  }),
  "max-migrations": withDefault(parseWhole(1, 1_000_000), String(inAll), {
    placeholder: "N",
    help: "How many may be under way at a time in all",
  }),
  "max-queued-migrations": withDefault(parseWhole(1, 1_000_000), String(queued), {
    placeholder: "N",
    help: "How many may wait; beyond that StartMigration is refused (RESOURCE_EXHAUSTED)",
  }),
  "move-budget": withDefault(parseWhole(0, MOVES_KEPT), "4", {
    placeholder: "N",
    help: "How often a guest may move within --move-budget-window-ms; 0: as often as it is asked to",
  }),
  "move-budget-window-ms": withDefault(parseWhole(1_000, 86_400_000), "180000", {
    placeholder: "MS",
    help: "EVPN takes 5 moves of a MAC within 180 s for a duplicate, and stops forwarding to it",
  }),
};

export function moveBudgetIn(values: Values<typeof ADMISSION_SETTINGS>): MoveBudget | null {
  const moves = values["move-budget"];
  return moves === 0 ? null : { moves, windowMs: values["move-budget-window-ms"] };
}

export function admissionLimitsIn(values: Values<typeof ADMISSION_SETTINGS>): AdmissionLimits {
  return {
    perSource: values["max-migrations-per-source"],
    perDestination: values["max-migrations-per-destination"],
    inAll: values["max-migrations"],
    queued: values["max-queued-migrations"],
  };
}
