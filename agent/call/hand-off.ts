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
import type { Instance } from "../instance/instance.ts";
import { hasSaid, saidUnder } from "../journal/said-under.ts";
import { admitMigrationCall, requireFence } from "./migration-call.ts";
import { wordNotFound } from "./word-forgotten.ts";

/**
 * By the journal alone, so also after the instance is gone. NOT_FOUND / WORD_FORGOTTEN where the journal knows of no such
 * epoch, and so cannot say that nothing was given under it.
 */
export function getHandOff(host: Host, request: GetHandOffRequest): GetHandOffResponse {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const { epoch } = requireFence(request.fence);
  const entries = host.knownJournalOf(guestId)?.entries ?? [];
  const handedOff = saidUnder(entries, epoch, "handedOff");
  if (handedOff !== undefined) return { handOff: handedOff.handOff };
  if (saidUnder(entries, epoch, "armed") === undefined) throw wordNotFound(guestId, epoch);
  return { handOff: undefined };
}

/**
 * The answer tells what a coordinator that did not hear it would wait for without end: that this side has taken the guest
 * over, which nothing undoes.
 */
export function deliverHandOff(host: Host, request: DeliverHandOffRequest): DeliverHandOffResponse {
  parseGuestId(request.guestId, "guest_id");
  const { handOff } = request;
  if (handOff === undefined) throw invalidArgument("hand_off", "The source's word is required.", "REQUIRED");
  requireForThisCall(handOff, request);
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  const { runner } = adopted;
  const before = runner.guest;
  const wasTakenOver = takenOverBy(instance, before, handOff) !== undefined;
  // Throws where the journal does not take what follows from it: it is brought again then.
  const atUnixUs = host.ports.clock.unixUs();
  runner.order({ kind: "handOffReceived", atUnixUs, handOff, route: HandOffRoute.GRPC });
  const takenOver = takenOverBy(instance, runner.guest, handOff);
  if (runner.guest !== before) {
    // The word's epoch counts from now on, and of it what the command has seen.
    runner.order({ kind: "commandAdmitted", atUnixUs, fence });
    return { applied: wasTakenOver ? Applied.ALREADY_SO : Applied.CHANGED, takenOver };
  }
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

/**
 * Who waited for the guest and has got it by the word; one whose start is not answered for yet says so itself. A guest
 * that its owner stopped after a finished transfer is tied to it no more, and the journal tells.
 */
function takenOverBy(instance: Instance, guest: Guest, handOff: HandOff): TakenOverAnswer | undefined {
  const { cpus, migration, role, vmm } = guest;
  if (role.kind !== "resident") return undefined;
  const isTied = migration?.side === "destination" && migration.migrationId === handOff.migrationId;
  const epoch = handOff.fence?.epoch ?? 0n;
  const had = hasSaid(instance.journal.entries, instance.instanceId, epoch, "contSent", "takenOverPaused");
  if (!isTied && (migration !== null || !had)) return undefined;
  const runs = cpus.kind === "running" || role.start !== "none";
  const stopped = cpus.kind === "stopped" && cpus.runState !== "unread" ? cpus.runState : "paused";
  const transferStatus = isTied ? migration.transferStatus : "completed";
  return { runState: runs ? "running" : stopped, transferStatus, vmmLost: vmm === "lost" };
}
