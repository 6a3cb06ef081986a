import { SwitchoverError } from "../../proto/error.ts";
import { saidUnder } from "../journal/said-under.ts";
import type { MigrationCall } from "./migration-call.ts";

/** Throws FAILED_PRECONDITION / NOT_DESTINATION unless this host was prepared for the guest under this epoch. */
export function requireDestination({ instance, fence }: MigrationCall): void {
  if (saidUnder(instance.journal.entries, fence.epoch, "prepared") !== undefined) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instance.instanceId} was not prepared as a destination under epoch ${fence.epoch}.`,
    { reason: "NOT_DESTINATION", field: "instance_id" },
  );
}
