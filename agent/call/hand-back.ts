import {
  HandBackAnswer,
  type HandBackRequest,
  type HandBackResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { hasSaid } from "../journal/said-under.ts";
import { awaitVmmEnd } from "./await-vmm-end.ts";
import { giveUpGoneInstance } from "./gone-instance.ts";
import { admitMigrationCall, type MigrationCall, requireFence } from "./migration-call.ts";
import { requireDestination } from "./require-destination.ts";

/** A VMM says within a millisecond whether it starts its guest; one that hangs is asked about again. */
const START_ANSWERED_WITHIN_MS = 4_000;

const HANDED_BACK: HandBackResponse = { answer: HandBackAnswer.HANDED_BACK, vmmLost: false };

/**
 * While its VMM has not said whether it starts the guest, neither answer is true: DEADLINE_EXCEEDED / STILL_WAITING then.
 * Journaled and on disk before the answer; in live mode the VMM has ended, or was given time to. Only a host that
 * remembers the instance answers: NOT_FOUND / INSTANCE_UNKNOWN else, for a guest of which nothing is known may run.
 */
export async function handBack(host: Host, request: HandBackRequest): Promise<HandBackResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const fence = requireFence(request.fence);
  if (host.instances.find(guestId, instanceId) === undefined) {
    const word = await giveUpGoneInstance(host, guestId, instanceId, fence);
    return word === "started" ? tooLate("lost") : HANDED_BACK;
  }
  await admitMigrationCall(host, request).adopted.runner.waitUntil(
    (guest) => !isStartUnanswered(guest),
    START_ANSWERED_WITHIN_MS,
    "the VMM to say whether it starts the guest",
  );
  const call = admitMigrationCall(host, request);
  const { instance, adopted } = call;
  const { runner } = adopted;
  if (hasStarted(runner.guest, call)) return tooLate(runner.guest.vmm);
  runner.order({ kind: "handBackOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  await instance.journal.sync();
  const { role } = runner.guest;
  if (role.kind === "fenced" && role.vmm === "ending") await awaitVmmEnd(runner);
  return HANDED_BACK;
}

function tooLate(vmm: Guest["vmm"]): HandBackResponse {
  return { answer: HandBackAnswer.TOO_LATE, vmmLost: vmm === "lost" };
}

/** It was told to start the guest, which it may refuse yet. */
function isStartUnanswered({ role, vmm }: Guest): boolean {
  return role.kind === "incoming" && role.contSentAtUnixUs !== null && vmm === "connected";
}

/** Or may have. Throws FAILED_PRECONDITION / NOT_DESTINATION where that is not this migration's doing. */
function hasStarted(guest: Guest, call: MigrationCall): boolean {
  const { cpus, role } = guest;
  // A host that died in between may have lost the line that says so.
  if (role.kind === "incoming") return role.contSentAtUnixUs !== null || role.memory !== "whole";
  if (role.kind === "vacant" || role.kind === "fenced") return false;
  const { fence, instance } = call;
  const isSource = hasSaid(
    instance.journal.entries,
    instance.instanceId,
    fence.epoch,
    "armed",
    "kept",
    "retaken",
  );
  // One of which nothing is known here, and which runs, has started all the same.
  if (cpus.kind !== "running" || isSource) requireDestination(call);
  return true;
}
