import {
  decodeMigrationState,
  encodeGuestRecord,
  encodeMigrationState,
  readGuestRecord,
} from "../../coordinator/record/record-codec.ts";
import type { RecordStore, StoredRecord } from "../../coordinator/record/record-store.ts";
import type { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";
import { GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";
import { Bucket, type NamedKey, placeOf } from "./bucket.ts";
import type { BucketEntry } from "./bucket-watch.ts";
import type { NatsLink } from "./connection.ts";

/**
 * RecordStore on JetStream KV: records in the guests' bucket, ended migrations in the history's, as proto3 JSON. Each
 * record names the coordinator that wrote it.
 */
export class NatsGuestRecordStore implements RecordStore {
  readonly #coordinatorId: string;
  readonly #guests: Bucket;
  readonly #history: Bucket;

  constructor(link: NatsLink, coordinatorId = "") {
    this.#coordinatorId = coordinatorId;
    this.#guests = new Bucket(link, GUEST_BUCKET);
    this.#history = new Bucket(link, HISTORY_BUCKET);
  }

  async get(guestId: GuestId): Promise<StoredRecord | null> {
    const entry = await this.#guests.get(recordOf(guestId));
    return entry === null ? null : storedRecord(entry);
  }

  create(record: GuestRecord): Promise<StoredRecord> {
    return this.#write(record, 0);
  }

  update(record: GuestRecord, expectedRevision: number): Promise<StoredRecord> {
    return this.#write(record, expectedRevision);
  }

  async #write(changed: GuestRecord, expectedRevision: number): Promise<StoredRecord> {
    const record = { ...changed, committedBy: this.#coordinatorId };
    const body = encodeGuestRecord(record);
    const revision = await this.#guests.write(recordOf(record.guestId), body, expectedRevision);
    return { record, revision };
  }

  async *watch(guestId: GuestId, signal: AbortSignal): AsyncGenerator<StoredRecord, void, undefined> {
    const what = `The record of guest ${guestId} is not watched`;
    for await (const entry of this.#guests.watch(what, guestId, signal)) yield storedRecord(entry);
  }

  /** What is known is not decoded. */
  async *watchAll(
    signal: AbortSignal,
    isKnown: (guestId: GuestId, revision: number) => boolean = () => false,
  ): AsyncGenerator<StoredRecord, void, undefined> {
    for await (const entry of this.#guests.watch("Records are not watched", ">", signal)) {
      if (isKnown(entry.key as GuestId, entry.revision)) continue;
      let stored: StoredRecord;
      try {
        stored = storedRecord(entry);
      } catch {
        // A record that cannot be read costs its own guest only; whoever reads that one is told.
        continue;
      }
      yield stored;
    }
  }

  async *keys(): AsyncGenerator<GuestId, void, undefined> {
    for (const key of await this.#guests.keys("The guests were not listed")) yield key as GuestId;
  }

  async archive(state: MigrationState): Promise<void> {
    const migrationId = state.migration?.migrationId ?? "";
    const body = encodeMigrationState(state);
    await this.#history.run(`Migration ${migrationId} was not archived`, (kv) => kv.put(migrationId, body));
  }

  async readArchived(migrationId: MigrationId): Promise<MigrationState | null> {
    const entry = await this.#history.get({
      key: migrationId,
      name: `The archived migration ${migrationId}`,
    });
    return entry === null ? null : decodeMigrationState(entry.value, placeOf(entry));
  }
}

function recordOf(guestId: string): NamedKey {
  return { key: guestId, name: `The record of guest ${guestId}`, metadata: { guest_id: guestId } };
}

function storedRecord(entry: BucketEntry): StoredRecord {
  const { unknownValues, value: record } = readGuestRecord(entry.value, placeOf(entry));
  const { revision } = entry;
  return unknownValues.length === 0 ? { record, revision } : { record, revision, unknownValues };
}
