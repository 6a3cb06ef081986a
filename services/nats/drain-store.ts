import type { DrainStore, StoredDrain } from "../../coordinator/drain/drain-store.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { DrainRecord } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { DRAIN_BUCKET } from "../../proto/subjects.ts";
import { Bucket } from "./bucket.ts";
import type { BucketEntry } from "./bucket-watch.ts";
import type { NatsLink } from "./connection.ts";
import { isConflict } from "./fault.ts";

/** DrainStore on JetStream KV, as proto3 JSON. */
export class NatsDrainStore implements DrainStore {
  readonly #bucket: Bucket;

  constructor(link: NatsLink) {
    this.#bucket = new Bucket(link, DRAIN_BUCKET);
  }

  async get(hostId: HostId): Promise<StoredDrain | null> {
    const entry = await this.#bucket.run(`The drain of host ${hostId} was not read`, (kv) => kv.get(hostId));
    return entry === null || entry.operation !== "PUT" ? null : storedDrain(entry);
  }

  write(record: DrainRecord, expectedRevision: number): Promise<StoredDrain> {
    const { hostId } = record;
    const body = JSON.stringify(DrainRecord.toJSON(record));
    return this.#bucket.run(`The drain of host ${hostId} was not written`, async (kv) => {
      try {
        const revision = await (expectedRevision === 0
          ? kv.create(hostId, body)
          : kv.update(hostId, body, expectedRevision));
        return { record, revision };
      } catch (thrown) {
        throw isConflict(thrown) ? revisionConflict(hostId, thrown) : thrown;
      }
    });
  }

  async *watch(signal: AbortSignal): AsyncGenerator<StoredDrain, void, undefined> {
    for await (const entry of this.#bucket.watch("Drains are not watched", ">", signal)) {
      yield storedDrain(entry);
    }
  }
}

function storedDrain(entry: BucketEntry): StoredDrain {
  try {
    return { record: DrainRecord.fromJSON(JSON.parse(entry.string())), revision: entry.revision };
  } catch (thrown) {
    const { bucket, key, revision } = entry;
    throw new SwitchoverError("INTERNAL", `The drain of host ${key} cannot be read.`, {
      reason: "RECORD_UNREADABLE",
      metadata: { bucket, key, revision: String(revision) },
      cause: thrown,
    });
  }
}

function revisionConflict(hostId: string, cause: unknown): SwitchoverError {
  return new SwitchoverError("ABORTED", `The drain of host ${hostId} was changed by another writer.`, {
    reason: "REVISION_CONFLICT",
    metadata: { host_id: hostId },
    cause,
  });
}
