import type { Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { Guest } from "../guest/guest.ts";

/** Throws FAILED_PRECONDITION / NOT_ARMED unless the source was armed under this epoch (and may have handed off since). */
export function requireArmed(guest: Guest, fence: Fence): void {
  const wasArmed = guest.role.kind === "outgoing" || guest.role.kind === "relinquished";
  if (wasArmed && guest.fence.epoch === fence.epoch) return;
  throw new SwitchoverError("FAILED_PRECONDITION", `This instance is not armed under epoch ${fence.epoch}.`, {
    reason: "NOT_ARMED",
    field: "fence.epoch",
  });
}
