import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  SwitchToPostCopyRequest,
  SwitchToPostCopyResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall } from "./migration-call.ts";
import { requireArmed } from "./require-armed.ts";

/** A switchover takes 10 to 20 ms; this leaves room for a slow one. */
const ANSWER_AFTER_MS = 75;

/**
 * Answers 75 ms after the VMM accepted: whoever acts on the answer would compete for the host's CPUs while the guest's
 * stand still. The events tell what came of it.
 */
export async function switchToPostCopy(
  host: Host,
  request: SwitchToPostCopyRequest,
): Promise<SwitchToPostCopyResponse> {
  const { adopted, fence } = admitMigrationCall(host, request);
  const { guest } = adopted.runner;
  requireArmed(guest, fence);
  const status = guest.migration?.transferStatus ?? "none";
  if (guest.role.kind === "relinquished" || status.startsWith("postcopy-"))
    return { applied: Applied.ALREADY_SO };
  if (guest.role.kind === "outgoing" && guest.role.keep !== "notAsked") {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      "The transfer is being given up: the guest stays here.",
      {
        reason: "ENDING",
        field: "migration_id",
      },
    );
  }
  if (guest.migration?.mode !== "postCopy" || status !== "active") {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `The transfer's status is "${status}"; only an active post-copy transfer can switch.`,
      { reason: "TRANSFER_NOT_ACTIVE", metadata: { status } },
    );
  }
  adopted.runner.order({ kind: "postCopyOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  // As in BeginTransfer.
  requireArmed(adopted.runner.guest, fence);
  await adopted.vmm.migrateStartPostcopy();
  await new Promise<void>((resolve) => host.ports.clock.after(ANSWER_AFTER_MS, resolve));
  return { applied: Applied.CHANGED };
}
