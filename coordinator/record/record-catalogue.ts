import type { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";

/**
 * All migrations that are kept, to be read through: those in guests' records, and those in the history. A migration
 * that ends is archived before its record goes to the next one, so whoever reads the records first and the archived ids
 * then meets each. What cannot be decoded is left out: it costs its own migration only.
 *
 * Nothing is held in memory but what is on its way. UNAVAILABLE where the store does not answer.
 */
export interface RecordCatalogue {
  /** The records of one guest, or of all; one that is written meanwhile may come again. */
  records(guestId: GuestId | null): AsyncIterable<GuestRecord>;
  archivedIds(): AsyncIterable<MigrationId>;
  /** Null where it is gone, or cannot be decoded. */
  readArchived(migrationId: MigrationId): Promise<MigrationState | null>;
}
