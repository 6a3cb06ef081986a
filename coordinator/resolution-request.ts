import { invalidArgument, unknownEnum } from "../proto/error.ts";
import { Resolution, type ResolveMigrationRequest } from "../proto/gen/switchover/v1/migration_service.ts";
import { parseHostId } from "../proto/ids.ts";
import { type Ask, resolutionOf } from "./migration/asks.ts";
import { type CompleteState, hostOf, SIDES } from "./migration/complete-state.ts";

/** What can be checked before the migration is known; INVALID_ARGUMENT names the first field at fault. */
export function checkResolution({ deadHostIds, resolution }: ResolveMigrationRequest): void {
  for (const [index, hostId] of deadHostIds.entries()) parseHostId(hostId, `dead_host_ids[${index}]`);
  switch (resolution) {
    case Resolution.UNSPECIFIED:
      if (deadHostIds.length > 0) return;
      throw invalidArgument("resolution", "Dead hosts or a resolution are required.", "REQUIRED");
    case Resolution.RESUME_SOURCE:
    case Resolution.GUEST_LOST:
      return;
    default:
      throw unknownEnum("resolution", resolution, "The resolution is none that this coordinator knows.");
  }
}

/** What the request means to its migration; INVALID_ARGUMENT for what can never be right there. */
export function parseResolution(request: ResolveMigrationRequest, state: CompleteState): Ask {
  for (const [index, hostId] of request.deadHostIds.entries()) {
    if (SIDES.some((side) => hostOf(state, side) === hostId)) continue;
    const sentence = `Host ${hostId} has no part in this migration.`;
    throw invalidArgument(`dead_host_ids[${index}]`, sentence, "NOT_A_HOST_OF_THE_MIGRATION");
  }
  const deadSides = SIDES.filter((side) => request.deadHostIds.includes(hostOf(state, side)));
  if (request.resolution === Resolution.RESUME_SOURCE && deadSides.includes("source")) {
    throw invalidArgument("resolution", "A source that is dead cannot run the guest again.", "SOURCE_DEAD");
  }
  if (request.resolution === Resolution.GUEST_LOST && deadSides.length === 1) {
    const [other] = SIDES.filter((side) => !deadSides.includes(side)).map((side) => hostOf(state, side));
    const sentence =
      `With one host dead it is decided whether ${other} goes on with the guest: state that alone, and give the guest ` +
      "up only where the migration waits all the same.";
    throw invalidArgument("resolution", sentence, "OTHER_HOST_MAY_RUN_IT");
  }
  return resolutionOf(deadSides, resolutionIn(request));
}

function resolutionIn({ resolution }: ResolveMigrationRequest): "resumeSource" | "guestLost" | "none" {
  if (resolution === Resolution.RESUME_SOURCE) return "resumeSource";
  return resolution === Resolution.GUEST_LOST ? "guestLost" : "none";
}
