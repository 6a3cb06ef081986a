import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { invalidArgument } from "../../proto/error.ts";
import { GUEST_BUCKET } from "../../proto/subjects.ts";
import {
  type BackupEntry,
  type BackupHead,
  type BackupLine,
  backupUnreadable,
  parseBackupLine,
} from "./backup-line.ts";
import type { BackupCounts } from "./write-backup.ts";

/** Larger than any record that NATS takes. */
const LINE_BYTES_AT_MOST = 16 * 1024 * 1024;

export interface CheckedBackup extends BackupCounts {
  readonly head: BackupHead;
}

/**
 * Reads the whole backup and returns what is in it, so that nothing is restored from one that is broken.
 * FAILED_PRECONDITION / BACKUP_UNREADABLE, with what is wrong where.
 */
export async function checkBackup(path: string): Promise<CheckedBackup> {
  let head: BackupHead | null = null;
  let [guests, migrations] = [0, 0];
  for await (const line of readLines(path)) {
    if (line.t === "head") head = line.head;
    else if (line.t === "entry" && line.entry.bucket === GUEST_BUCKET) guests += 1;
    else if (line.t === "entry") migrations += 1;
    else if (line.end.guests !== guests || line.end.migrations !== migrations) {
      throw backupUnreadable("The backup does not hold as many records as it says.");
    }
  }
  if (head === null) throw backupUnreadable("The file is empty.");
  return { head, guests, migrations };
}

/** Its records, in the order of the backup. Throws as checkBackup, at the latest at the end. */
export async function* readBackup(path: string): AsyncGenerator<BackupEntry, void, undefined> {
  for await (const line of readLines(path)) if (line.t === "entry") yield line.entry;
}

async function* readLines(path: string): AsyncGenerator<BackupLine, void, undefined> {
  const file = await openFile(path);
  try {
    const sum = createHash("sha256");
    let number = 0;
    let last: BackupLine["t"] | "none" = "none";
    for await (const text of file.readLines({ encoding: "utf8" })) {
      number += 1;
      if (last === "end") throw backupUnreadable(`Line ${number} comes after the end.`);
      if (text.length > LINE_BYTES_AT_MOST) throw backupUnreadable(`Line ${number} is too long.`);
      const line = parseBackupLine(text, number);
      if ((number === 1) !== (line.t === "head")) throw backupUnreadable("The backup has no head, or two.");
      if (line.t === "end" && line.end.sha256 !== sum.digest("hex")) {
        throw backupUnreadable("The backup's sum is wrong: it was changed after it was made.");
      }
      if (line.t !== "end") sum.update(`${text}\n`);
      last = line.t;
      yield line;
    }
    if (last !== "end") throw backupUnreadable("The backup has no end: it was cut off.");
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (thrown) {
    const { message } = thrown as Error;
    throw invalidArgument("FILE", `FILE: "${path}" cannot be read: ${message}.`, "FILE_UNREADABLE");
  }
}
