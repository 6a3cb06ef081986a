import type { DrainStore, StoredDrain } from "../../coordinator/drain/drain-store.ts";
import { DrainRecord } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { DRAIN_BUCKET } from "../../proto/subjects.ts";
import { Bucket, type NamedKey, readEntry } from "./bucket.ts";
import type { BucketEntry } from "./bucket-watch.ts";
import type { NatsLink } from "./connection.ts";

/** DrainStore on JetStream KV, as proto3 JSON. */
export class NatsDrainStore implements DrainStore {
  readonly #bucket: Bucket;

  constructor(link: NatsLink) {
    this.#bucket = new Bucket(link, DRAIN_BUCKET);
  }

  async get(hostId: HostId): Promise<StoredDrain | null> {
    const entry = await this.#bucket.get(drainOf(hostId));
    return entry === null ? null : storedDrain(entry);
  }

  async write(record: DrainRecord, expectedRevision: number): Promise<StoredDrain> {
    const body = JSON.stringify(DrainRecord.toJSON(record));
    const revision = await this.#bucket.write(drainOf(record.hostId), body, expectedRevision);
    return { record, revision };
  }

  async *watch(signal: AbortSignal): AsyncGenerator<StoredDrain, void, undefined> {
    for await (const entry of this.#bucket.watch("Drains are not watched", ">", signal)) {
      yield storedDrain(entry);
    }
  }
}

function drainOf(hostId: string): NamedKey {
  return { key: hostId, name: `The drain of host ${hostId}`, metadata: { host_id: hostId } };
}

function storedDrain(entry: BucketEntry): StoredDrain {
  const read = (text: string) => DrainRecord.fromJSON(JSON.parse(text));
  return { record: readEntry(entry, drainOf(entry.key).name, read), revision: entry.revision };
}
