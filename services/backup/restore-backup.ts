import { decodeGuestRecord } from "../../coordinator/record/record-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { GUEST_BUCKET } from "../../proto/subjects.ts";
import type { BackupBucket, BackupEntry } from "./backup-line.ts";

/** The buckets that a backup is taken from, and brought back to. */
export interface BackupStore {
  /** All guests' records, then all of the history: a migration that ends meanwhile is in one of them at least. */
  entries(): AsyncIterable<BackupEntry>;
  /** What stands there; null where nothing does. `revision` is the store's, 0 for nothing. */
  read(
    bucket: BackupBucket,
    key: string,
  ): Promise<{ readonly value: string | null; readonly revision: number }>;
  /** ABORTED / REVISION_CONFLICT where another value is there by now. */
  write(entry: BackupEntry, expectedRevision: number): Promise<void>;
}

export interface Restored {
  /** Written, or, in a trial, what would be. */
  readonly restored: number;
  /** Left as they are, for what stands there is the same or newer. */
  readonly kept: number;
}

/**
 * Brings the entries to the store, each by compare-and-set: a guest's record only where none stands, or an older one, so
 * that no record goes backwards; an ended migration only where it is missing. A trial changes nothing and counts the same.
 * Repeated, it changes nothing more.
 */
export async function restoreEntries(
  store: Pick<BackupStore, "read" | "write">,
  entries: AsyncIterable<BackupEntry>,
  mode: "trial" | "write",
): Promise<Restored> {
  let [restored, kept] = [0, 0];
  for await (const entry of entries) {
    const outcome = await restoreEntry(store, entry, mode);
    if (outcome === "restored") restored += 1;
    else kept += 1;
  }
  return { restored, kept };
}

/** Coordinators that run meanwhile may write a record between the look and the write. */
const ATTEMPTS = 8;

async function restoreEntry(
  store: Pick<BackupStore, "read" | "write">,
  entry: BackupEntry,
  mode: "trial" | "write",
): Promise<"restored" | "kept"> {
  for (let attempt = 1; ; attempt += 1) {
    const { value, revision } = await store.read(entry.bucket, entry.key);
    if (value !== null && !isOlder(value, entry)) return "kept";
    if (mode === "trial") return "restored";
    try {
      await store.write(entry, revision);
      return "restored";
    } catch (thrown) {
      if (SwitchoverError.from(thrown).code !== "ABORTED" || attempt >= ATTEMPTS) throw thrown;
    }
  }
}

function isOlder(standing: string, { bucket, value }: BackupEntry): boolean {
  if (bucket !== GUEST_BUCKET) return false;
  const [there, here] = [standing, value].map((text) => decodeGuestRecord(Buffer.from(text)));
  if (there === undefined || here === undefined) return false;
  return there.epoch === here.epoch ? there.revision < here.revision : there.epoch < here.epoch;
}
