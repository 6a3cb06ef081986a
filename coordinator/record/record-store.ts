import type { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";

/** A record as the store holds it; `revision` is the store's own and compares for `update`, it is not the fence's. */
export interface StoredRecord {
  readonly record: GuestRecord;
  readonly revision: number;
  /** Enum values in it that this coordinator does not know: a newer one's, who alone may go on from it. */
  readonly unknownValues?: readonly string[];
}

/**
 * Where the records live: one key a guest, changed by compare-and-set only, so that any number of coordinators
 * may write. Every call ends within a bound of the store's own.
 *
 * UNAVAILABLE / OUTCOME_UNKNOWN means that a write may or may not have happened: re-read, compare, retry.
 */
export interface RecordStore {
  /** The guest's record; null where there is none. */
  get(guestId: GuestId): Promise<StoredRecord | null>;
  /** Writes the guest's first record. ABORTED / REVISION_CONFLICT where there is one. */
  create(record: GuestRecord): Promise<StoredRecord>;
  /** Writes over the revision that was read. ABORTED / REVISION_CONFLICT where another one is there by now. */
  update(record: GuestRecord, expectedRevision: number): Promise<StoredRecord>;
  /** The record as it stands, then every newer one; may skip states, never the newest. Ends with the signal. */
  watch(guestId: GuestId, signal: AbortSignal): AsyncIterable<StoredRecord>;
  /**
   * As `watch`, of all guests. While the store is away it waits, and may then bring all of them again. Leaves out what
   * `isKnown` says of, by guest and the store's revision, as far as it can do so at less cost.
   */
  watchAll(
    signal: AbortSignal,
    isKnown?: (guestId: GuestId, revision: number) => boolean,
  ): AsyncIterable<StoredRecord>;
  /** Every guest with a record. */
  keys(): AsyncIterable<GuestId>;
  /** Keeps an ended migration beyond its record. Idempotent. */
  archive(state: MigrationState): Promise<void>;
  /** An ended migration that was archived; null where none was, or it is gone. */
  readArchived(migrationId: MigrationId): Promise<MigrationState | null>;
}
