import type { SlotStore, StoredSlot } from "../../coordinator/admission/slot-store.ts";
import { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import type { GuestId } from "../../proto/ids.ts";
import { SLOT_BUCKET } from "../../proto/subjects.ts";
import { Bucket, type NamedKey, readEntry } from "./bucket.ts";
import type { BucketEntry } from "./bucket-watch.ts";
import type { NatsLink } from "./connection.ts";

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
    const entry = await this.#bucket.get(slotOf(guestId));
    return entry === null ? null : storedSlot(entry);
  }

  async write(slot: AdmissionSlot, expectedRevision: number): Promise<StoredSlot> {
    const body = JSON.stringify(AdmissionSlot.toJSON(slot));
    const revision = await this.#bucket.write(slotOf(slot.guestId), body, expectedRevision);
    return { slot, revision };
  }

  async *watch(signal: AbortSignal, onCurrent: () => void): AsyncGenerator<StoredSlot, void, undefined> {
    for await (const entry of this.#bucket.watch("Slots are not watched", ">", signal, onCurrent)) {
      yield storedSlot(entry);
    }
  }
}

function slotOf(guestId: string): NamedKey {
  return { key: guestId, name: `The slot of guest ${guestId}`, metadata: { guest_id: guestId } };
}

function storedSlot(entry: BucketEntry): StoredSlot {
  const read = (text: string) => AdmissionSlot.fromJSON(JSON.parse(text));
  return { slot: readEntry(entry, slotOf(entry.key).name, read), revision: entry.revision };
}
