import { decodeGuestRecord, decodeMigrationState } from "../../coordinator/record/record-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";

/**
 * A backup is text, one JSON object a line, so that a person can read it and a script can pick from it:
 *
 *   {"switchover_backup":1,"created_at":"...","feed_last_sequence":"..."}      the head
 *   {"bucket":"switchover_guests","key":"web-7","value":"{...}"}               guests' records, then the history
 *   {"guests":1,"migrations":0,"sha256":"..."}                                  the end, with the sum of all lines before
 *
 * A value is the text that the bucket holds, byte by byte. A file without its end was cut off, and is no backup.
 */
export const BACKUP_FORM = 1;

export type BackupBucket = typeof GUEST_BUCKET | typeof HISTORY_BUCKET;

export interface BackupHead {
  readonly createdAt: string;
  /** The feed itself is not in the backup; observers that remember a position know by this whether it is an older one. */
  readonly feedLastSequence: string;
}

export interface BackupEntry {
  readonly bucket: BackupBucket;
  readonly key: string;
  readonly value: string;
}

export interface BackupEnd {
  readonly guests: number;
  readonly migrations: number;
  readonly sha256: string;
}

export type BackupLine =
  | { readonly t: "head"; readonly head: BackupHead }
  | { readonly t: "entry"; readonly entry: BackupEntry }
  | { readonly t: "end"; readonly end: BackupEnd };

/** One line, without its break. */
export function encodeBackupLine(line: BackupLine): string {
  switch (line.t) {
    case "head": {
      const { createdAt, feedLastSequence } = line.head;
      return JSON.stringify({
        switchover_backup: BACKUP_FORM,
        created_at: createdAt,
        feed_last_sequence: feedLastSequence,
      });
    }
    case "entry":
      return JSON.stringify(line.entry);
    case "end":
      return JSON.stringify(line.end);
  }
}

/** FAILED_PRECONDITION / BACKUP_UNREADABLE, naming the line, for a text that encodeBackupLine did not make. */
export function parseBackupLine(text: string, number: number): BackupLine {
  const of = objectIn(text, number);
  if ("switchover_backup" in of) return parseHead(of, number);
  const { bucket, key, value, guests, migrations, sha256 } = of;
  if (typeof sha256 === "string" && typeof guests === "number" && typeof migrations === "number") {
    return { t: "end", end: { guests, migrations, sha256 } };
  }
  const isBucket = bucket === GUEST_BUCKET || bucket === HISTORY_BUCKET;
  if (!isBucket || typeof key !== "string" || typeof value !== "string") {
    throw backupUnreadable(`Line ${number} is none of a backup's.`);
  }
  const entry = { bucket, key, value } as const;
  checkEntry(entry, number);
  return { t: "entry", entry };
}

function objectIn(text: string, number: number): Readonly<Record<string, unknown>> {
  try {
    const of: unknown = JSON.parse(text);
    if (typeof of === "object" && of !== null) return of as Readonly<Record<string, unknown>>;
  } catch {
    // Told below, like any other text that is no object.
  }
  throw backupUnreadable(`Line ${number} is no JSON object.`);
}

function parseHead(of: Readonly<Record<string, unknown>>, number: number): BackupLine {
  const { switchover_backup: form, created_at: createdAt, feed_last_sequence: feedLastSequence } = of;
  if (form !== BACKUP_FORM) {
    throw backupUnreadable(`The backup has form ${String(form)}; this version reads form ${BACKUP_FORM}.`);
  }
  if (typeof createdAt === "string" && typeof feedLastSequence === "string") {
    return { t: "head", head: { createdAt, feedLastSequence } };
  }
  throw backupUnreadable(`Line ${number} is no head of a backup.`);
}

function checkEntry(entry: BackupEntry, number: number): void {
  const fault = faultIn(entry);
  if (fault !== null) throw backupUnreadable(`Line ${number} ${fault}.`);
}

/**
 * Why nobody could use the entry; null where it is as coordinators write it. What is stored under another key than its own
 * would be found by nobody, or by the wrong one.
 */
export function faultIn({ bucket, key, value }: BackupEntry): string | null {
  const bytes = Buffer.from(value);
  let named: string | undefined;
  try {
    named =
      bucket === GUEST_BUCKET
        ? decodeGuestRecord(bytes).guestId
        : decodeMigrationState(bytes).migration?.migrationId;
  } catch (thrown) {
    if (SwitchoverError.from(thrown).reason !== "RECORD_UNREADABLE") throw thrown;
    return `holds a record that cannot be read under the key "${key.slice(0, 90)}"`;
  }
  if (named === key) return null;
  return `holds "${(named ?? "").slice(0, 90)}" under the key "${key.slice(0, 90)}"`;
}

export function backupUnreadable(sentence: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", sentence, { reason: "BACKUP_UNREADABLE", field: "FILE" });
}
