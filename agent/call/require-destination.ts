import { SwitchoverError } from "../../proto/error.ts";
import { hasSaid } from "../journal/said-under.ts";
import type { MigrationCall } from "./migration-call.ts";

/** Throws FAILED_PRECONDITION / NOT_DESTINATION unless the instance was prepared for the guest under this epoch. */
export function requireDestination({ instance, fence }: MigrationCall): void {
  if (hasSaid(instance.journal.entries, instance.instanceId, fence.epoch, "prepared")) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instance.instanceId} was not prepared as a destination under epoch ${fence.epoch}.`,
    { reason: "NOT_DESTINATION", field: "instance_id" },
  );
}
