import type { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import type { GuestId } from "../../proto/ids.ts";

/** A slot as its store holds it. Revisions order all slots: a later write has a higher one, whatever its key. */
export interface StoredSlot {
  readonly slot: AdmissionSlot;
  readonly revision: number;
}

/** Where slots live: one key a guest, changed by compare-and-set only. Every call ends within a bound of the store's. */
export interface SlotStore {
  /** The guest's slot, released ones too; null where there never was one. */
  get(guestId: GuestId): Promise<StoredSlot | null>;
  /**
   * Writes over the revision that was read; 0: over nothing. ABORTED / REVISION_CONFLICT where another one is there by
   * now. UNAVAILABLE / OUTCOME_UNKNOWN: it may or may not have happened.
   */
  write(slot: AdmissionSlot, expectedRevision: number): Promise<StoredSlot>;
  /**
   * Every slot as it stands, then every newer one, in the order of revisions; may skip what was overwritten, never what
   * stands. While the store is away it waits, and may then bring all of them again. `onCurrent`: all that stood there has
   * been brought; that may go untold.
   */
  watch(signal: AbortSignal, onCurrent: () => void): AsyncIterable<StoredSlot>;
}
