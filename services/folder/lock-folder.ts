import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { EAGAIN, errnoName } from "../../agent/netlink/errno.ts";
import { flock, LOCK_EX, LOCK_NB } from "../../agent/netlink/libc.ts";
import { SwitchoverError } from "../../proto/error.ts";

export interface LockOptions {
  /** The flag that the path comes from. */
  readonly field: string;
  /** What kind of program holds such a folder ("agent"). */
  readonly holder: string;
  /** Of the error where another one has it. */
  readonly reason: string;
}

export interface FolderLock {
  /** Another one may have the folder then: all that is kept in it is closed before. Idempotent. */
  release(): void;
}

/**
 * The folder is this process's alone, whatever name, mount or namespace another one reaches it by. The kernel lets go of
 * it when the process ends, however it ends, so that a successor never waits. Throws FAILED_PRECONDITION with the given
 * reason, and the holder's pid where that can be seen, and UNAVAILABLE / FOLDER_UNLOCKABLE.
 *
 * Of the folder itself (flock(2)): there is no file that a full disk refuses or that somebody tidies away.
 */
export function lockFolder(path: string, options: LockOptions): FolderLock {
  const fd = opened(path, options);
  const result = flock(fd, LOCK_EX | LOCK_NB);
  if (result < 0) {
    closeSync(fd);
    throw -result === EAGAIN ? inUse(path, options) : unlockable(path, options, errnoName(-result));
  }
  let state: "held" | "released" = "held";
  return {
    release: () => {
      if (state === "released") return;
      state = "released";
      closeSync(fd);
    },
  };
}

function opened(path: string, options: LockOptions): number {
  try {
    return openSync(path, "r");
  } catch (thrown) {
    throw unlockable(path, options, thrown instanceof Error ? thrown.message : String(thrown), thrown);
  }
}

function inUse(path: string, { field, holder, reason }: LockOptions): SwitchoverError {
  const pid = holderOf(path);
  const who = pid === undefined ? `another ${holder}` : `another ${holder}, process ${pid}`;
  const metadata = { path, ...(pid === undefined ? {} : { pid }) };
  const sentence = `${field}: the folder ${path} is in use by ${who}.`;
  return new SwitchoverError("FAILED_PRECONDITION", sentence, { reason, field, metadata });
}

/** As /proc/locks names it, which leaves out processes of other PID namespaces, and names some filesystems otherwise. */
function holderOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
    const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
    const inode = `${twoDigits(major)}:${twoDigits(minor)}:${ino}`;
    const locks = readFileSync("/proc/locks", "utf8").split("\n");
    const fields = locks.map((line) => line.trim().split(/\s+/));
    return fields.find(([, kind, , , pid, at]) => kind === "FLOCK" && at === inode && Number(pid) > 0)?.[4];
  } catch {
    return undefined;
  }
}

function twoDigits(number: bigint): string {
  return number.toString(16).padStart(2, "0");
}

function unlockable(path: string, { field }: LockOptions, text: string, cause?: unknown): SwitchoverError {
  const sentence = `${field}: the folder ${path} cannot be locked: ${text}.`;
  const detail = { reason: "FOLDER_UNLOCKABLE", field, metadata: { path }, cause };
  return new SwitchoverError("UNAVAILABLE", sentence, detail);
}
