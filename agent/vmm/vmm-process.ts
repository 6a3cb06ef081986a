import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { HOST_IS_LITTLE_ENDIAN } from "../netlink/host-order.ts";
import { getsockopt } from "../netlink/libc.ts";

/** The process of a VMM, told from another one that has its number later. */
export interface VmmProcess {
  readonly pid: number;
  /** When it began, in ticks since the host's boot (field 22 of /proc/PID/stat). */
  readonly startTicks: number;
}

/** `dead`: it is gone for good, and its CPUs with it. `unknown`: it cannot be seen from here. */
export type ProcessLife = "alive" | "dead" | "unknown";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;
/** A process that has ended and is still to be reaped (`Z`), or is being removed (`X`). */
const ENDED: ReadonlySet<string> = new Set(["Z", "X", "x"]);

/** Whether the process still runs; asks /proc. */
export function readProcessLife({ pid, startTicks }: VmmProcess): ProcessLife {
  try {
    const stat = parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
    if (stat === undefined) return "unknown";
    return stat.startTicks !== startTicks || ENDED.has(stat.state) ? "dead" : "alive";
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ESRCH" ? "dead" : "unknown";
  }
}

/**
 * The process behind a connected unix socket: the one that listened on `path` (SO_PEERCRED), if it still has that socket
 * open. Undefined where it cannot be seen, as from another PID namespace, and where the listener only handed its socket
 * on, as libvirt does: its life says nothing about the VMM's.
 */
export function readPeerProcess(fd: number, path: string): VmmProcess | undefined {
  const credentials = new Uint8Array(UCRED_BYTES);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials) !== UCRED_BYTES) return undefined;
  const pid = new DataView(credentials.buffer).getInt32(0, HOST_IS_LITTLE_ENDIAN);
  if (pid <= 0 || pid === process.pid) return undefined;
  try {
    if (!holdsSocketOf(pid, path)) return undefined;
    const stat = parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
    return stat === undefined ? undefined : { pid, startTicks: stat.startTicks };
  } catch {
    return undefined;
  }
}

/** State and start of a process; its name, in brackets, may hold anything. */
export function parseProcessStat(
  text: string,
): { readonly state: string; readonly startTicks: number } | undefined {
  const [state, ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const startTicks = Number(rest[18]);
  return state === undefined || state.length !== 1 || !Number.isSafeInteger(startTicks) || startTicks <= 0
    ? undefined
    : { state, startTicks };
}

/** The inodes of the unix sockets bound to `path`, in the text of /proc/PID/net/unix. */
export function parseSocketInodes(text: string, path: string): ReadonlySet<string> {
  return new Set(
    text.split("\n").flatMap((line) => {
      const [, , , , , , inode, ...words] = line.trim().split(/ +/);
      return inode !== undefined && words.join(" ") === path ? [inode] : [];
    }),
  );
}

function holdsSocketOf(pid: number, path: string): boolean {
  const inodes = parseSocketInodes(readFileSync(`/proc/${pid}/net/unix`, "utf8"), path);
  return readdirSync(`/proc/${pid}/fd`).some((fd) => inodes.has(inodeOf(`/proc/${pid}/fd/${fd}`)));
}

function inodeOf(link: string): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(link))?.[1] ?? "";
  } catch {
    // Closed in between.
    return "";
  }
}
