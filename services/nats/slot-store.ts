import type { SlotStore, StoredSlot } from "../../coordinator/admission/slot-store.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import type { GuestId } from "../../proto/ids.ts";
import { SLOT_BUCKET } from "../../proto/subjects.ts";
import { Bucket } from "./bucket.ts";
import type { BucketEntry } from "./bucket-watch.ts";
import type { NatsLink } from "./connection.ts";
import { isConflict } from "./fault.ts";

/**
 * SlotStore on JetStream KV, as proto3 JSON. A bucket's revisions are its stream's sequence numbers, and a watch brings
 * them in that order.
 */
export class NatsSlotStore implements SlotStore {
  readonly #bucket: Bucket;

  constructor(link: NatsLink) {
    this.#bucket = new Bucket(link, SLOT_BUCKET);
  }

  async get(guestId: GuestId): Promise<StoredSlot | null> {
    const entry = await this.#bucket.run(`The slot of guest ${guestId} was not read`, (kv) =>
      kv.get(guestId),
    );
    return entry === null || entry.operation !== "PUT" ? null : storedSlot(entry);
  }

  write(slot: AdmissionSlot, expectedRevision: number): Promise<StoredSlot> {
    const body = JSON.stringify(AdmissionSlot.toJSON(slot));
    return this.#bucket.run(`The slot of guest ${slot.guestId} was not written`, async (kv) => {
      try {
        const revision = await (expectedRevision === 0
          ? kv.create(slot.guestId, body)
          : kv.update(slot.guestId, body, expectedRevision));
        return { slot, revision };
      } catch (thrown) {
        throw isConflict(thrown) ? revisionConflict(slot.guestId, thrown) : thrown;
      }
    });
  }

  async *watch(signal: AbortSignal, onCurrent: () => void): AsyncGenerator<StoredSlot, void, undefined> {
    for await (const entry of this.#bucket.watch("Slots are not watched", ">", signal, onCurrent)) {
      yield storedSlot(entry);
    }
  }
}

function storedSlot(entry: BucketEntry): StoredSlot {
  try {
    return { slot: AdmissionSlot.fromJSON(JSON.parse(entry.string())), revision: entry.revision };
  } catch (thrown) {
    const { bucket, key, revision } = entry;
    throw new SwitchoverError("INTERNAL", `The slot of guest ${key} cannot be read.`, {
      reason: "RECORD_UNREADABLE",
      metadata: { bucket, key, revision: String(revision) },
      cause: thrown,
    });
  }
}

function revisionConflict(guestId: string, cause: unknown): SwitchoverError {
  return new SwitchoverError("ABORTED", `The slot of guest ${guestId} was changed by another writer.`, {
    reason: "REVISION_CONFLICT",
    metadata: { guest_id: guestId },
    cause,
  });
}
