import { SwitchoverError } from "../../proto/error.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { encodeGuestRecord } from "./record-codec.ts";
import type { RecordStore, StoredRecord } from "./record-store.ts";

export type Written =
  /** `by` others: they had written the very same before. */
  | { readonly t: "written"; readonly stored: StoredRecord; readonly by: "us" | "others" }
  /** Somebody else's write was first; what stands now, null where there is nothing. */
  | { readonly t: "overtaken"; readonly stored: StoredRecord | null };

/**
 * Writes `record` over what was read (null: nothing was there), once, and says how it went. A write whose outcome is
 * unknown is read back: it counts as written where the very record stands there. Rejects with UNAVAILABLE where the
 * store cannot say.
 */
export async function compareAndSet(
  store: RecordStore,
  record: GuestRecord,
  over: StoredRecord | null,
): Promise<Written> {
  try {
    const stored = over === null ? await store.create(record) : await store.update(record, over.revision);
    return { t: "written", stored, by: "us" };
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    if (error.code !== "ABORTED" && error.code !== "UNAVAILABLE" && error.code !== "DEADLINE_EXCEEDED")
      throw error;
    const stands = await store.get(record.guestId as GuestId);
    if (stands !== null && isSameRecord(stands.record, record)) {
      return { t: "written", stored: stands, by: error.code === "ABORTED" ? "others" : "us" };
    }
    // What was read stands still, so nothing was written, unless that is yet to happen: it is tried again.
    if (stands?.revision === over?.revision && error.code !== "ABORTED") throw error;
    return { t: "overtaken", stored: stands };
  }
}

/** Whoever committed it: the store says that. */
function isSameRecord(stands: GuestRecord, wanted: GuestRecord): boolean {
  const { committedBy } = stands;
  return Buffer.from(encodeGuestRecord(stands)).equals(encodeGuestRecord({ ...wanted, committedBy }));
}
