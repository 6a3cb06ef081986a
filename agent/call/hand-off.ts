import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { Applied, type HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  DeliverHandOffRequest,
  DeliverHandOffResponse,
  GetHandOffRequest,
  GetHandOffResponse,
  TakenOverAnswer,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall, requireFence } from "./migration-call.ts";

/** By the journal alone, so also after the instance is gone. */
export function getHandOff(host: Host, request: GetHandOffRequest): GetHandOffResponse {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const { epoch } = requireFence(request.fence);
  for (const { word } of host.knownJournalOf(guestId)?.entries ?? []) {
    if (word.kind === "handedOff" && word.handOff.fence?.epoch === epoch) return { handOff: word.handOff };
  }
  return { handOff: undefined };
}

/**
 * The answer tells what a coordinator that did not hear it would wait for without end: that this side has taken the guest
 * over, which nothing undoes.
 */
export function deliverHandOff(host: Host, request: DeliverHandOffRequest): DeliverHandOffResponse {
  const { handOff } = request;
  if (handOff === undefined) throw invalidArgument("hand_off", "The source's word is required.", "REQUIRED");
  requireForThisCall(handOff, request);
  const { runner } = admitMigrationCall(host, request).adopted;
  const before = runner.guest;
  // Throws where the journal does not take what follows from it: it is brought again then.
  const atUnixUs = host.ports.clock.unixUs();
  runner.order({ kind: "handOffReceived", atUnixUs, handOff, route: HandOffRoute.GRPC });
  const takenOver = takenOverBy(runner.guest, handOff);
  if (runner.guest !== before) return { applied: Applied.CHANGED, takenOver };
  if (takenOver !== undefined || isKept(runner.guest, handOff)) {
    return { applied: Applied.ALREADY_SO, takenOver };
  }
  throw new SwitchoverError("FAILED_PRECONDITION", "This instance awaits no such hand-off.", {
    reason: "HAND_OFF_NOT_AWAITED",
    field: "hand_off",
  });
}

/** A word about another guest, or another attempt, is not this command's to bring. */
function requireForThisCall(handOff: HandOff, request: DeliverHandOffRequest): void {
  if (handOff.guestId !== request.guestId) {
    throw invalidArgument("hand_off.guest_id", "The word is not about the request's guest.", "MISMATCH");
  }
  if (handOff.fence?.epoch !== requireFence(request.fence).epoch) {
    throw invalidArgument(
      "hand_off.fence.epoch",
      "The word is of another epoch than the request.",
      "MISMATCH",
    );
  }
}

/** This very word came before, and waits for the guest. */
function isKept({ migration, role }: Guest, handOff: HandOff): boolean {
  if (migration?.migrationId !== handOff.migrationId || role.kind !== "incoming") return false;
  return role.handOff?.fence?.epoch === handOff.fence?.epoch;
}

/** Who waited for the guest and has it got it by the word; one whose start is not answered for yet says so itself. */
function takenOverBy({ cpus, migration, role, vmm }: Guest, handOff: HandOff): TakenOverAnswer | undefined {
  if (migration?.side !== "destination" || migration.migrationId !== handOff.migrationId) return undefined;
  if (role.kind !== "resident") return undefined;
  const runs = cpus.kind === "running" || role.start !== "none";
  const runState = runs ? "running" : cpus.runState;
  return { runState, transferStatus: migration.transferStatus, vmmLost: vmm === "lost" };
}
