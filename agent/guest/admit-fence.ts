import { compareFences, type Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { Guest } from "./guest.ts";

/**
 * Throws ABORTED / STALE_FENCE where the fence is older than what this instance has acted on; the same fence passes,
 * so that a repeated command is answered like the first.
 */
export function admitFence(guest: Guest, fence: Fence): void {
  if (compareFences(fence, guest.fence) >= 0) return;
  throw new SwitchoverError(
    "ABORTED",
    `Epoch ${fence.epoch} revision ${fence.revision} is older than epoch ${guest.fence.epoch} revision ${guest.fence.revision}, which guest ${guest.guestId} has acted on here.`,
    {
      reason: "STALE_FENCE",
      field: "fence",
      metadata: { newest_epoch: String(guest.fence.epoch), newest_revision: String(guest.fence.revision) },
    },
  );
}
