import {
  completeState,
  newMigrationState,
  withMigration,
} from "../../coordinator/migration/complete-state.ts";
import type { RecordCatalogue } from "../../coordinator/record/record-catalogue.ts";
import type { MigrationSpec, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { GuestRecord, type MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, type MigrationId, migrationIdOf } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";

/** The buckets in memory, as coordinators leave them: a record a guest, and a history. */
export class MemoryCatalogue implements RecordCatalogue {
  readonly #records = new Map<string, GuestRecord>();
  readonly #history = new Map<MigrationId, MigrationState>();
  /** What happens between the pass over the records and that over the history. */
  betweenPasses: (() => void) | null = null;
  reads = 0;

  /** The guest's next migration; the one before is archived where its end left that to be done. */
  begin(guestId: string, atUnixMs: number, random: number, change: Partial<MigrationSpec> = {}): MigrationId {
    this.archive(guestId);
    const migrationId = migrationIdOf(guestId as GuestId, atUnixMs, random);
    const spec = specOf({ guestId, ...change });
    const fence = { epoch: 1n, revision: 1n };
    const migration = newMigrationState(migrationId, "r1", spec, fence, BigInt(atUnixMs) * 1_000n);
    this.#records.set(guestId, GuestRecord.create({ guestId, epoch: 1n, revision: 1n, migration }));
    return migrationId;
  }

  enter(guestId: string, phase: Phase): void {
    const record = this.#records.get(guestId);
    if (record?.migration === undefined) return;
    const migration = withMigration(completeState(record.migration), { phase });
    this.#records.set(guestId, { ...record, migration });
  }

  archive(guestId: string): void {
    const state = this.#records.get(guestId)?.migration;
    if (state !== undefined) this.#history.set(state.migration?.migrationId as MigrationId, state);
  }

  /** Retention takes it. */
  forget(migrationId: MigrationId): void {
    this.#history.delete(migrationId);
  }

  async *records(guestId: GuestId | null): AsyncGenerator<GuestRecord, void, undefined> {
    for (const record of [...this.#records.values()]) {
      if (guestId === null || record.guestId === guestId) yield record;
    }
    this.betweenPasses?.();
  }

  async *archivedIds(): AsyncGenerator<MigrationId, void, undefined> {
    yield* [...this.#history.keys()];
  }

  async readArchived(migrationId: MigrationId): Promise<MigrationState | null> {
    this.reads += 1;
    return this.#history.get(migrationId) ?? null;
  }
}
