import { createHash } from "node:crypto";
import { type FileHandle, link, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { SwitchoverError } from "../../proto/error.ts";
import { GUEST_BUCKET } from "../../proto/subjects.ts";
import { type BackupEntry, type BackupHead, type BackupLine, encodeBackupLine } from "./backup-line.ts";

export interface BackupCounts {
  readonly guests: number;
  readonly migrations: number;
}

/** Bytes that are gathered for one write. */
const WRITE_BYTES = 256 * 1024;

/**
 * Writes a backup to `path`, for its owner's eyes only, and returns what is in it. It is there whole, synced to the disk, or
 * not at all; a file that is there is never replaced: ALREADY_EXISTS / FILE_EXISTS. What the entries throw is thrown.
 */
export async function writeBackup(
  path: string,
  head: BackupHead,
  entries: AsyncIterable<BackupEntry>,
): Promise<BackupCounts> {
  // Of this process alone: what a killed one left behind is in nobody's way.
  const partPath = `${path}.${process.pid}.part`;
  const file = await openNew(partPath);
  try {
    const counts = await writeLines(file, head, entries);
    await file.sync();
    await file.close();
    await link(partPath, path);
    await syncFolder(dirname(path));
    return counts;
  } catch (thrown) {
    throw (thrown as NodeJS.ErrnoException).code === "EEXIST" ? fileExists(path, thrown) : thrown;
  } finally {
    await file.close();
    await unlink(partPath);
  }
}

async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, "wx", 0o600);
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code === "EEXIST") throw fileExists(path, thrown);
    throw new SwitchoverError("INVALID_ARGUMENT", `FILE: "${path}" cannot be written: ${message}.`, {
      reason: "FILE_UNWRITABLE",
      field: "FILE",
      cause: thrown,
    });
  }
}

async function writeLines(
  file: FileHandle,
  head: BackupHead,
  entries: AsyncIterable<BackupEntry>,
): Promise<BackupCounts> {
  const sum = createHash("sha256");
  let waiting = "";
  const write = async (line: BackupLine): Promise<void> => {
    const text = `${encodeBackupLine(line)}\n`;
    if (line.t !== "end") sum.update(text);
    waiting += text;
    if (waiting.length < WRITE_BYTES && line.t !== "end") return;
    await file.writeFile(waiting);
    waiting = "";
  };
  await write({ t: "head", head });
  let [guests, migrations] = [0, 0];
  for await (const entry of entries) {
    if (entry.bucket === GUEST_BUCKET) guests += 1;
    else migrations += 1;
    await write({ t: "entry", entry });
  }
  await write({ t: "end", end: { guests, migrations, sha256: sum.digest("hex") } });
  return { guests, migrations };
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function fileExists(path: string, cause: unknown): SwitchoverError {
  return new SwitchoverError("ALREADY_EXISTS", `FILE: "${path}" is there already, and stays as it is.`, {
    reason: "FILE_EXISTS",
    field: "FILE",
    cause,
  });
}
