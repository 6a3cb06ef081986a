import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { Applied, type HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  DeliverHandOffRequest,
  DeliverHandOffResponse,
  GetHandOffRequest,
  GetHandOffResponse,
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

export function deliverHandOff(host: Host, request: DeliverHandOffRequest): DeliverHandOffResponse {
  const { handOff } = request;
  if (handOff === undefined) throw invalidArgument("hand_off", "The source's word is required.", "REQUIRED");
  requireForThisCall(handOff, request);
  const { runner } = admitMigrationCall(host, request).adopted;
  const before = runner.guest;
  // Throws where the journal does not take what follows from it: it is brought again then.
  const atUnixUs = host.ports.clock.unixUs();
  runner.order({ kind: "handOffReceived", atUnixUs, handOff, route: HandOffRoute.GRPC });
  if (runner.guest !== before) return { applied: Applied.CHANGED };
  if (hasTaken(runner.guest, handOff)) return { applied: Applied.ALREADY_SO };
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

/** Whether this very word came before, and is kept or was acted on. */
function hasTaken({ migration, role }: Guest, handOff: HandOff): boolean {
  if (migration?.side !== "destination" || migration.migrationId !== handOff.migrationId) return false;
  return role.kind === "incoming"
    ? role.handOff?.fence?.epoch === handOff.fence?.epoch
    : role.kind === "resident";
}
