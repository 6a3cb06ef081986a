import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  AbortDestinationRequest,
  AbortDestinationResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { awaitVmmEnd } from "./await-vmm-end.ts";
import { admitMigrationCall } from "./migration-call.ts";

/** Journaled and on disk before the answer; waits a little for the VMM's end, which may be later all the same. */
export async function abortDestination(
  host: Host,
  request: AbortDestinationRequest,
): Promise<AbortDestinationResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const found = host.instances.find(guestId, instanceId);
  if (found === undefined) return { applied: Applied.ALREADY_SO };
  if (found.state === "prepared") {
    found.devices.release();
    host.forget(found);
    return { applied: Applied.CHANGED };
  }
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  const { runner } = adopted;
  const { guest } = runner;
  if (guest.role.kind === "fenced" && guest.role.released === "released") {
    await instance.journal.sync();
    return { applied: Applied.ALREADY_SO };
  }
  requireNeverStarted(guest);
  runner.order({ kind: "abortOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  await instance.journal.sync();
  await awaitVmmEnd(runner);
  return { applied: Applied.CHANGED };
}

function requireNeverStarted({ instanceId, role }: Guest): void {
  if (role.kind === "vacant" || role.kind === "fenced") return;
  if (role.kind === "incoming" && role.contSentAtUnixUs === null) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instanceId} has the guest: its CPUs were started there, or it was taken over.`,
    { reason: "CONT_SENT", field: "instance_id", metadata: { role: role.kind } },
  );
}
