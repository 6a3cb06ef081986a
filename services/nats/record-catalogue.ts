import type { RecordCatalogue } from "../../coordinator/record/record-catalogue.ts";
import { decodeGuestRecord, decodeMigrationState } from "../../coordinator/record/record-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";
import { GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";
import { Bucket } from "./bucket.ts";
import { scanBucket } from "./bucket-scan.ts";
import type { NatsLink } from "./connection.ts";

/** RecordCatalogue on JetStream KV. */
export class NatsRecordCatalogue implements RecordCatalogue {
  readonly #link: NatsLink;
  readonly #history: Bucket;

  constructor(link: NatsLink) {
    this.#link = link;
    this.#history = new Bucket(link, HISTORY_BUCKET);
  }

  async *records(guestId: GuestId | null): AsyncGenerator<GuestRecord, void, undefined> {
    const scan = { what: "Records were not listed", keys: guestId ?? ">", of: "values" } as const;
    for await (const { value } of scanBucket(this.#link, GUEST_BUCKET, scan)) {
      const record = whereReadable(() => decodeGuestRecord(value));
      if (record !== null) yield record;
    }
  }

  async *archivedIds(): AsyncGenerator<MigrationId, void, undefined> {
    const scan = { what: "Ended migrations were not listed", keys: ">", of: "keys" } as const;
    for await (const { key } of scanBucket(this.#link, HISTORY_BUCKET, scan)) yield key as MigrationId;
  }

  async readArchived(migrationId: MigrationId): Promise<MigrationState | null> {
    const entry = await this.#history.get({
      key: migrationId,
      name: `The archived migration ${migrationId}`,
    });
    return entry === null ? null : whereReadable(() => decodeMigrationState(entry.value));
  }
}

function whereReadable<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (thrown) {
    if (SwitchoverError.from(thrown).reason === "RECORD_UNREADABLE") return null;
    throw thrown;
  }
}
