import { invalidArgument } from "../../proto/error.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  DeliverHandOffRequest,
  DeliverHandOffResponse,
  GetHandOffRequest,
  GetHandOffResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall, requireFence } from "./migration-call.ts";

/** By the journal alone, so also after the instance is gone. */
export function getHandOff(host: Host, request: GetHandOffRequest): GetHandOffResponse {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const { epoch } = requireFence(request.fence);
  for (const { word } of host.journalOf(guestId).entries) {
    if (word.kind === "handedOff" && word.handOff.fence?.epoch === epoch) return { handOff: word.handOff };
  }
  return { handOff: undefined };
}

export function deliverHandOff(host: Host, request: DeliverHandOffRequest): DeliverHandOffResponse {
  const { handOff } = request;
  if (handOff === undefined) throw invalidArgument("hand_off", "The source's word is required.", "REQUIRED");
  const { runner } = admitMigrationCall(host, request).adopted;
  const before = runner.guest;
  runner.hearHandOff(handOff, HandOffRoute.GRPC);
  return { applied: runner.guest === before ? Applied.ALREADY_SO : Applied.CHANGED };
}
