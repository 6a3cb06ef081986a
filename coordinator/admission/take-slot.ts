import { SwitchoverError } from "../../proto/error.ts";
import type { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import type { GuestId } from "../../proto/ids.ts";
import { isSlotIdle, type RecordedMigration } from "./slot.ts";
import type { SlotStore, StoredSlot } from "./slot-store.ts";

/**
 * Has the slot stand in the store, for the migration that the guest's record holds; one that stands already stays as and
 * where it is. ABORTED / SLOT_HELD where another migration's is there that may still be under way; ABORTED /
 * REVISION_CONFLICT and UNAVAILABLE as the store's: try again. Idempotent.
 */
export async function takeSlot(
  slots: SlotStore,
  slot: AdmissionSlot,
  recorded: RecordedMigration,
): Promise<StoredSlot> {
  const stands = await slots.get(slot.guestId as GuestId);
  if (stands?.slot.released === false) {
    if (stands.slot.migrationId === slot.migrationId) return stands;
    if (!isSlotIdle(stands.slot, recorded, slot.takenAtUnixUs)) throw slotHeld(stands.slot);
  }
  return slots.write(slot, stands?.revision ?? 0);
}

/** Has the slot count no more. Idempotent; where another one stands by now, that stays. */
export async function releaseSlot(slots: SlotStore, { slot, revision }: StoredSlot): Promise<void> {
  try {
    await slots.write({ ...slot, released: true }, revision);
  } catch (thrown) {
    if (SwitchoverError.from(thrown).code !== "ABORTED") throw thrown;
  }
}

function slotHeld({ guestId, migrationId }: AdmissionSlot): SwitchoverError {
  return new SwitchoverError("ABORTED", `The slot of guest ${guestId} is held by ${migrationId}.`, {
    reason: "SLOT_HELD",
    metadata: { guest_id: guestId, migration_id: migrationId },
  });
}
