import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { getSystemErrorMap } from "node:util";
import { invalidArgument, SwitchoverError } from "../../proto/error.ts";

export interface FolderOptions {
  /** The flag that the path comes from. */
  readonly field: string;
  /** Of every folder that is made. */
  readonly mode: number;
}

/** What is wrong with the path itself, however often it is tried. */
const FAULTS_OF_THE_PATH: ReadonlySet<string> = new Set([
  "EACCES",
  "EEXIST",
  "ELOOP",
  "ENAMETOOLONG",
  "ENOENT",
  "ENOTDIR",
  "EPERM",
  "EROFS",
]);

/**
 * The folder is there afterwards, with all above it. Idempotent. Throws INVALID_ARGUMENT / FOLDER_NOT_MADE where it
 * cannot be at this path, UNAVAILABLE / FOLDER_NOT_MADE where the disk does not take it now.
 *
 * Not by mkdir's own `recursive`: below a folder that takes none (/proc) that never returns, and holds up the end of
 * the process (Node 20).
 */
export async function makeFolder(path: string, options: FolderOptions): Promise<void> {
  try {
    await makeWithParents(resolve(path), options.mode);
  } catch (thrown) {
    throw notMade(path, options.field, thrown as NodeJS.ErrnoException);
  }
}

async function makeWithParents(path: string, mode: number): Promise<void> {
  const fault = await attempt(path, mode);
  if (fault === null) return;
  if (fault.code !== "ENOENT" || dirname(path) === path) throw fault;
  await makeWithParents(dirname(path), mode);
  const second = await attempt(path, mode);
  if (second !== null) throw second;
}

/** Null where the folder is there now, whoever made it. */
async function attempt(path: string, mode: number): Promise<NodeJS.ErrnoException | null> {
  try {
    await mkdir(path, { mode });
    return null;
  } catch (thrown) {
    const isFolder = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    return isFolder ? null : (thrown as NodeJS.ErrnoException);
  }
}

function notMade(path: string, field: string, cause: NodeJS.ErrnoException): SwitchoverError {
  const { code = "", errno, path: at = path } = cause;
  const words = getSystemErrorMap().get(errno ?? 0)?.[1] ?? cause.message;
  const sentence = `${field}: the folder ${path} cannot be made: ${at === path ? "" : `${at}: `}${words}.`;
  const reason = "FOLDER_NOT_MADE";
  if (FAULTS_OF_THE_PATH.has(code)) return invalidArgument(field, sentence, reason);
  return new SwitchoverError("UNAVAILABLE", sentence, { reason, field, cause });
}
