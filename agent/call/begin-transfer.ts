import type { Fence } from "../../proto/epoch.ts";
import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  BeginTransferRequest,
  BeginTransferResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import type { Adopted } from "../instance/instance.ts";
import { isIncomingUri } from "../vmm/migration-address.ts";
import { isUnderWay } from "../vmm/migration-status.ts";
import { admitMigrationCall } from "./migration-call.ts";
import { requireArmed } from "./require-armed.ts";

/** Journaled before `migrate` is sent: after a restart of this agent the transfer may be under way. */
export async function beginTransfer(
  host: Host,
  request: BeginTransferRequest,
): Promise<BeginTransferResponse> {
  const { incomingUri } = request;
  if (incomingUri !== "" && !isIncomingUri(incomingUri)) throw notAnIncomingUri();
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  // An owner knows where its other VMM waits.
  if (incomingUri === "" && adopted.source.kind === "qmp") throw notAnIncomingUri();
  requireArmed(adopted.runner.guest, fence);
  const { role } = adopted.runner.guest;
  if (role.kind !== "outgoing" || instance.transfer === "begun") return { applied: Applied.ALREADY_SO };
  if (role.transfer === "begun") {
    const { statusText } = await adopted.vmm.queryMigrate();
    if (isUnderWay(statusText)) return { applied: Applied.ALREADY_SO };
  }
  adopted.runner.order({ kind: "transferOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  // The guest may have been to stay already, with only the journal yet to take it.
  requireArmed(adopted.runner.guest, fence);
  try {
    await adopted.vmm.migrate(incomingUri);
  } catch (thrown) {
    if (SwitchoverError.from(thrown).reason === "QMP_REFUSED") noteRefusal(host, adopted, fence);
    throw thrown;
  }
  instance.transfer = "begun";
  return { applied: Applied.CHANGED };
}

function notAnIncomingUri(): SwitchoverError {
  return invalidArgument(
    "incoming_uri",
    "The URI must be one that PrepareDestination returned (tcp:ADDRESS:PORT).",
  );
}

/** So that nobody takes what the VMM says of an older transfer for this one's end. */
function noteRefusal(host: Host, { runner }: Adopted, fence: Fence): void {
  try {
    runner.order({ kind: "transferRefused", atUnixUs: host.ports.clock.unixUs(), fence });
  } catch (thrown) {
    const { message, reason } = SwitchoverError.from(thrown);
    host.ports.log.warn(
      { guest_id: runner.guest.guestId, reason },
      `A refused transfer is not journaled: ${message}`,
    );
  }
}
