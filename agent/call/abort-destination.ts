import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  AbortDestinationRequest,
  AbortDestinationResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { type GuestId, type InstanceId, parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { awaitVmmEnd } from "./await-vmm-end.ts";
import { giveUpGoneInstance } from "./gone-instance.ts";
import { admitMigrationCall, type MigrationCall, requireFence } from "./migration-call.ts";
import { requireDestination } from "./require-destination.ts";

/**
 * Journaled and on disk before the answer; waits a little for the VMM's end, which may be later all the same. An
 * instance of which this host knows nothing needs no word: without a hand-off nothing starts it.
 */
export async function abortDestination(
  host: Host,
  request: AbortDestinationRequest,
): Promise<AbortDestinationResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const fence = requireFence(request.fence);
  const found = host.instances.find(guestId, instanceId);
  if (found === undefined && !knows(host, guestId, instanceId)) return { applied: Applied.ALREADY_SO };
  if (found === undefined || found.state === "prepared") {
    const word = await giveUpGoneInstance(host, guestId, instanceId, fence);
    if (word === "started") throw contSent(instanceId);
    if (found === undefined) return { applied: Applied.ALREADY_SO };
    found.devices.release();
    host.forget(found);
    return { applied: Applied.CHANGED };
  }
  const call = admitMigrationCall(host, request);
  const { instance, adopted } = call;
  const { runner } = adopted;
  const { guest } = runner;
  if (guest.role.kind === "fenced" && guest.role.released === "released") {
    await instance.journal.sync();
    return { applied: Applied.ALREADY_SO };
  }
  requireNeverStarted(guest, call);
  runner.order({ kind: "abortOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  await instance.journal.sync();
  await awaitVmmEnd(runner);
  return { applied: Applied.CHANGED };
}

function knows(host: Host, guestId: GuestId, instanceId: InstanceId): boolean {
  const entries = host.knownJournalOf(guestId)?.entries ?? [];
  return entries.some((entry) => entry.instanceId === instanceId);
}

function requireNeverStarted({ instanceId, role }: Guest, call: MigrationCall): void {
  if (role.kind === "vacant" || role.kind === "fenced") return;
  if (role.kind === "incoming" && role.contSentAtUnixUs === null) return;
  requireDestination(call);
  throw contSent(instanceId);
}

function contSent(instanceId: InstanceId): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instanceId} has the guest: its CPUs were started there, or it was taken over.`,
    { reason: "CONT_SENT", field: "instance_id" },
  );
}
