import { compareFences, type Fence } from "../../proto/epoch.ts";
import {
  HandBackAnswer,
  type HandBackRequest,
  type HandBackResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { type GuestId, type InstanceId, parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import { staleFence } from "../guest/admit-fence.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { saidUnder } from "../journal/said-under.ts";
import { awaitVmmEnd } from "./await-vmm-end.ts";
import { admitMigrationCall, requireFence } from "./migration-call.ts";

/** Journaled and on disk before the answer; in live mode the VMM has ended, or was given time to. */
export async function handBack(host: Host, request: HandBackRequest): Promise<HandBackResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const fence = requireFence(request.fence);
  if (host.instances.find(guestId, instanceId) === undefined) {
    return answerForTheGone(host, guestId, instanceId, fence);
  }
  const { instance, adopted } = admitMigrationCall(host, request);
  const { runner } = adopted;
  if (hasStarted(runner.guest)) return { answer: HandBackAnswer.TOO_LATE };
  runner.order({ kind: "handBackOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  await instance.journal.sync();
  const { role } = runner.guest;
  if (role.kind === "fenced" && role.vmm === "ending") await awaitVmmEnd(runner);
  return { answer: HandBackAnswer.HANDED_BACK };
}

/** Or may have. */
function hasStarted({ role }: Guest): boolean {
  // A host that died in between may have lost the line that says so.
  if (role.kind === "incoming") return role.contSentAtUnixUs !== null || role.memory !== "whole";
  return role.kind !== "vacant" && role.kind !== "fenced";
}

/** An instance that is gone has said all that it ever will, and nothing can start it: that is journaled too. */
async function answerForTheGone(
  host: Host,
  guestId: GuestId,
  instanceId: InstanceId,
  fence: Fence,
): Promise<HandBackResponse> {
  const journal = host.journalOf(guestId);
  const { entries } = journal;
  const started =
    saidUnder(entries, fence.epoch, "contSent") ?? saidUnder(entries, fence.epoch, "takenOverPaused");
  if (saidUnder(entries, fence.epoch, "handedBack") === undefined) {
    if (started !== undefined) return { answer: HandBackAnswer.TOO_LATE };
    const newest = host.newestFence(guestId);
    if (compareFences(fence, newest) < 0) throw staleFence(guestId, fence, newest);
    const sentence = "The instance is gone.";
    const word = { kind: "handedBack", fence, sentence } as const;
    journal.write({ atUnixUs: host.ports.clock.unixUs(), instanceId, word });
  }
  await journal.sync();
  return { answer: HandBackAnswer.HANDED_BACK };
}
