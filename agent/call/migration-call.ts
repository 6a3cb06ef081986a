import type { Fence } from "../../proto/epoch.ts";
import { invalidArgument, unknownEnum } from "../../proto/error.ts";
import { MigrationMode as WireMode } from "../../proto/gen/switchover/v1/migration.ts";
import { type GuestId, parseGuestId } from "../../proto/ids.ts";
import { admitFence } from "../guest/admit-fence.ts";
import type { MigrationMode } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Adopted, Instance } from "../instance/instance.ts";

/** The instance a coordinator's command is for, and the fence it carries. */
export interface MigrationCall {
  readonly guestId: GuestId;
  readonly instance: Instance;
  readonly adopted: Adopted;
  readonly fence: Fence;
}

/**
 * Admits a coordinator's command: throws INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION / NOT_ADOPTED, or ABORTED /
 * STALE_FENCE, before anything was changed, or UNAVAILABLE / JOURNAL_UNWRITABLE.
 */
export function admitMigrationCall(
  host: Host,
  request: { readonly guestId: string; readonly instanceId: string; readonly fence?: Fence | undefined },
): MigrationCall {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const fence = requireFence(request.fence);
  const instance = host.instances.resolve(guestId, request.instanceId, () => true);
  const adopted = instance.requireAdopted();
  admitFence(adopted.runner.guest, fence);
  adopted.runner.order({ kind: "commandAdmitted", atUnixUs: host.ports.clock.unixUs(), fence });
  return { guestId, instance, adopted, fence };
}

export function requireFence(fence: Fence | undefined): Fence {
  if (fence === undefined || fence.epoch === 0n) {
    throw invalidArgument(
      "fence.epoch",
      "A command of a migration needs an epoch of at least 1.",
      "REQUIRED",
    );
  }
  return fence;
}

export function parseMode(mode: WireMode): MigrationMode {
  switch (mode) {
    case WireMode.LIVE:
      return "live";
    case WireMode.POST_COPY:
      return "postCopy";
    default:
      throw unknownEnum("mode", mode, "The mode must be LIVE or POST_COPY.");
  }
}
