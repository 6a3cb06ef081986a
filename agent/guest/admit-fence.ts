import { compareFences, type Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Guest } from "./guest.ts";

/**
 * Throws ABORTED / STALE_FENCE where the fence is older than what this instance has acted on; the same fence passes,
 * so that a repeated command is answered like the first.
 */
export function admitFence({ guestId, fence: newest }: Guest, fence: Fence): void {
  if (compareFences(fence, newest) < 0) throw staleFence(guestId, fence, newest);
}

export function staleFence(guestId: GuestId, fence: Fence, newest: Fence): SwitchoverError {
  return new SwitchoverError(
    "ABORTED",
    `Epoch ${fence.epoch} revision ${fence.revision} is older than epoch ${newest.epoch} revision ${newest.revision}, which guest ${guestId} has acted on here.`,
    {
      reason: "STALE_FENCE",
      field: "fence",
      metadata: { newest_epoch: String(newest.epoch), newest_revision: String(newest.revision) },
    },
  );
}
