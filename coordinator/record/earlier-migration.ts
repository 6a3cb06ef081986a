import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { completeState } from "../migration/complete-state.ts";
import { isSameSpec, type MigrationRequest, requestReused } from "./guest-record.ts";
import type { RecordStore } from "./record-store.ts";

/**
 * The archived migration that the request made before others of its guest. ALREADY_EXISTS / REQUEST_REUSED where that
 * was asked for with other content, and where the history no longer has it.
 */
export async function earlierMigration(
  store: Pick<RecordStore, "readArchived">,
  request: MigrationRequest,
  migrationId: MigrationId,
): Promise<Migration> {
  const archived = await store.readArchived(migrationId);
  const migration = archived === null ? null : completeState(archived).migration;
  if (migration === null || !isSameSpec(migration.spec, request.spec)) throw requestReused(request.requestId);
  return migration;
}
