import type { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { Route } from "./slot-table.ts";

/** What the guest's record says, as far as slots go. */
export interface RecordedMigration {
  readonly migrationId: string;
  /** The record's: the highest ever allotted to the guest. */
  readonly epoch: bigint;
  readonly phase: Phase;
}

/** The slot that a migration takes under the guest's present epoch. */
export function slotOf(
  migration: Route & { readonly guestId: string; readonly migrationId: string },
  epoch: bigint,
  takenAtUnixUs: bigint,
): AdmissionSlot {
  const { guestId, migrationId, sourceHostId, destinationHostId } = migration;
  return { guestId, migrationId, epoch, sourceHostId, destinationHostId, takenAtUnixUs, released: false };
}

/** A record that is read may be older than the slot, where its store was; for so long nothing is concluded from that. */
const DOUBTED_FOR_US = 60_000_000n;

/**
 * Whether a slot counts for nothing any more, by the guest's record, which is the truth: its migration has ended, another
 * one came after it, or the record was lost. A migration that ended never begins again, so this stays true.
 */
export function isSlotIdle(
  slot: AdmissionSlot,
  recorded: RecordedMigration | null,
  nowUnixUs: bigint,
): boolean {
  if (slot.released) return true;
  if (recorded?.migrationId === slot.migrationId) return isTerminal(recorded.phase);
  if (recorded !== null && recorded.epoch > slot.epoch) return true;
  return nowUnixUs - slot.takenAtUnixUs > DOUBTED_FOR_US;
}

/**
 * Under way without being counted: its slot was lost with the store's last writes, or it began before there were slots.
 * A phase that only a newer coordinator knows reads as UNSPECIFIED, and is that one's to count.
 */
export function isUncounted(recorded: RecordedMigration, slot: AdmissionSlot | undefined): boolean {
  const { phase } = recorded;
  if (phase === Phase.PENDING || phase === Phase.UNSPECIFIED || isTerminal(phase)) return false;
  return slot?.migrationId !== recorded.migrationId;
}
