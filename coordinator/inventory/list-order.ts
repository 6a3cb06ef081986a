import { type GuestId, type MigrationId, parseMigrationId } from "../../proto/ids.ts";

/**
 * Where a migration stands in every list: by when it was asked for, newest first, then by its id in descending order.
 * Both are in the id and never change, so a place in the list outlives whatever happens to the migrations around it.
 */
export interface ListPlace {
  readonly migrationId: MigrationId;
  readonly guestId: GuestId;
  readonly requestedAtUnixMs: number;
}

/** INVALID_ARGUMENT for a text that is no migration id. */
export function placeOf(migrationId: string, field = "migration_id"): ListPlace {
  return parseMigrationId(migrationId, field);
}

/** Negative where `left` comes first. */
export function comparePlaces(left: ListPlace, right: ListPlace): number {
  if (left.requestedAtUnixMs !== right.requestedAtUnixMs) {
    return right.requestedAtUnixMs - left.requestedAtUnixMs;
  }
  if (left.migrationId === right.migrationId) return 0;
  return left.migrationId > right.migrationId ? -1 : 1;
}
