import { existsSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import { pollUntil } from "./deadline.ts";
import { emulatedMachine } from "./emulated-machine.ts";
import type { GuestImage } from "./guest-image.ts";
import { DISK_SLOT_BYTES, DISK_SLOTS_PER_HOST, HOST_FW_CFG_NAME } from "./guest-init.ts";
import { type Heartbeat, HeartbeatFollower } from "./heartbeat.ts";
import type { NetworkNamespace } from "./network-namespace.ts";
import type { ProcessExit, TrackedProcess } from "./tracked-process.ts";

/** `first-boot` waits for a `cont` (`-S`); `incoming` waits for `migrate-incoming` (`-incoming defer`). */
export type GuestRole = "first-boot" | "incoming";

export interface GuestNic {
  /** An existing device of the host's namespace; QEMU attaches to it and never configures it. Empty for its own network. */
  readonly tap: string;
  readonly mac: MacAddress;
  /** The file by which QEMU is given a macvtap; a tap goes by its name. */
  readonly characterDevice?: string;
}

export interface GuestQemuOptions {
  /** Unique in the lab; names the QEMU process and its sockets. */
  readonly instance: string;
  readonly role: GuestRole;
  readonly host: { readonly name: string; readonly index: number; readonly namespace: NetworkNamespace };
  /** How many hosts share the disk: the guest's slot layout depends on it. */
  readonly hostCount: number;
  readonly image: GuestImage;
  /** The same number of NICs, in the same order, on both sides of a migration; the first one is eth0. */
  readonly nics: readonly GuestNic[];
  /** The guest's own address on eth0, with prefix length. */
  readonly address: string;
  readonly diskPath: string;
  /** Sockets and logs go to `<directory>/<instance>/`. Unix socket paths are short: 107 bytes in all. */
  readonly directory: string;
  readonly memoryMib?: number;
}

const START_TIMEOUT_MS = 10_000;
/** The first file number after standard input, output and error. */
const FIRST_FILE = 3;

/** A QEMU of the lab's guest. It is the lab's to start and to end; its CPUs are driven over `qmpAgentPath`. */
export class GuestQemu {
  readonly instance: string;
  readonly host: string;
  readonly nics: readonly GuestNic[];
  /** For the one client that drives this QEMU: the agent, or a bare migration. */
  readonly qmpAgentPath: string;
  /** For the lab's witness. A QMP socket serves one client. */
  readonly qmpWitnessPath: string;
  readonly serialLogPath: string;
  readonly heartbeats: HeartbeatFollower;
  readonly #process: TrackedProcess;

  constructor(options: GuestQemuOptions, paths: GuestPaths, process: TrackedProcess) {
    this.instance = options.instance;
    this.host = options.host.name;
    this.nics = options.nics;
    this.qmpAgentPath = paths.qmpAgent;
    this.qmpWitnessPath = paths.qmpWitness;
    this.serialLogPath = paths.serialLog;
    this.heartbeats = new HeartbeatFollower(paths.serial);
    this.#process = process;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** How the process ended, with its stderr; undefined while it runs. */
  exit(): ProcessExit | undefined {
    return this.#process.exit();
  }

  stderrText(): string {
    return this.#process.stderrText();
  }

  lastHeartbeat(): Heartbeat | undefined {
    return this.heartbeats.last();
  }

  waitForHeartbeatAfter(seq: number, timeoutMs: number): Promise<Heartbeat> {
    return this.heartbeats.waitForBeatAfter(seq, timeoutMs);
  }

  /** Waits for the process to end by itself, as after QMP `quit`. */
  waitForExit(timeoutMs: number): Promise<ProcessExit> {
    return this.#process.waitForExit(timeoutMs);
  }

  /** SIGSTOP and SIGCONT freeze and thaw a QEMU, other signals end it; no wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal);
  }

  /** Kills the process and waits for its end. Idempotent. */
  async kill(): Promise<ProcessExit> {
    this.heartbeats.close();
    return this.#process.kill();
  }
}

interface GuestPaths {
  readonly qmpAgent: string;
  readonly qmpWitness: string;
  readonly serial: string;
  readonly serialLog: string;
}

/** Creates the disk that both QEMUs of a guest share: sparse, zero-filled, slots for every host. */
export async function createSharedDisk(path: string, hostCount: number): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.truncate(DISK_SLOTS_PER_HOST * hostCount * DISK_SLOT_BYTES);
  } finally {
    await file.close();
  }
}

/**
 * Starts a QEMU in the host's namespace and returns when its sockets exist. Throws FAILED_PRECONDITION with
 * QEMU's stderr when it ends at once, DEADLINE_EXCEEDED when no socket appears in 10 s (it is killed then).
 */
export async function startGuestQemu(options: GuestQemuOptions): Promise<GuestQemu> {
  const directory = join(options.directory, options.instance);
  const paths: GuestPaths = {
    qmpAgent: join(directory, "qmp-agent"),
    qmpWitness: join(directory, "qmp-witness"),
    serial: join(directory, "serial"),
    serialLog: join(directory, "serial.log"),
  };
  if (paths.qmpWitness.length > 107) {
    throw invalidArgument("directory", `${paths.qmpWitness} is too long for a unix socket.`);
  }
  await mkdir(directory, { recursive: true });
  const process = spawnQemu(options, paths);
  process.ignoreOutput();
  try {
    await pollUntil(
      () => {
        const exit = process.exit();
        if (exit !== undefined) {
          throw new SwitchoverError("FAILED_PRECONDITION", `QEMU did not start: ${exit.stderr.trim()}`, {
            reason: "QEMU_START_FAILED",
            metadata: { instance: options.instance, exitCode: String(exit.code) },
          });
        }
        return (
          [paths.qmpAgent, paths.qmpWitness, paths.serial].every((path) => existsSync(path)) || undefined
        );
      },
      START_TIMEOUT_MS,
      `The start of QEMU ${options.instance}`,
    );
  } catch (cause) {
    await process.kill();
    throw cause;
  }
  return new GuestQemu(options, paths, process);
}

/** Files of macvtaps are opened by a shell that becomes QEMU: number 3 is the first one's, and some shells know none above 9. */
function spawnQemu(options: GuestQemuOptions, paths: GuestPaths): TrackedProcess {
  const { namespace } = options.host;
  const qemu = ["qemu-system-x86_64", ...qemuArguments(options, paths)] as const;
  const files = filesOf(options.nics);
  if (files.length === 0) return namespace.spawn(qemu[0], qemu.slice(1));
  const openings = files.map((path, index) => `${FIRST_FILE + index}<>${path}`).join(" ");
  return namespace.spawn("bash", ["-c", `exec "$@" ${openings}`, "bash", ...qemu]);
}

function filesOf(nics: readonly GuestNic[]): readonly string[] {
  return nics.flatMap(({ characterDevice }) => (characterDevice === undefined ? [] : [characterDevice]));
}

function netdevOf(nic: GuestNic, index: number, files: readonly string[]): string {
  if (nic.characterDevice !== undefined) {
    return `tap,id=net${index},fd=${FIRST_FILE + files.indexOf(nic.characterDevice)}`;
  }
  if (nic.tap === "") return `user,id=net${index},restrict=on`;
  return `tap,id=net${index},ifname=${nic.tap},script=no,downscript=no`;
}

function qemuArguments(options: GuestQemuOptions, paths: GuestPaths): string[] {
  const { host, image } = options;
  return [
    ...emulatedMachine({
      name: options.instance,
      image,
      memoryMib: options.memoryMib ?? 128,
      // Without pti=on a guest with one process never reloads its page table, and the emulator's stale dirty
      // marks then kill about every twentieth guest right after a migration.
      kernelParameters: ["pti=on", "net.ifnames=0", `guest_address=${options.address}`],
    }),
    ...(options.role === "first-boot" ? ["-S"] : ["-incoming", "defer"]),
    ...[
      "-fw_cfg",
      `name=${HOST_FW_CFG_NAME},string=${hostIdentity(host.name, host.index, options.hostCount)}`,
    ],
    ...unixServer("serial0", paths.serial, `,logfile=${paths.serialLog}`),
    ...["-serial", "chardev:serial0"],
    ...unixServer("qmp-agent", paths.qmpAgent),
    ...["-mon", "chardev=qmp-agent,mode=control"],
    ...unixServer("qmp-witness", paths.qmpWitness),
    ...["-mon", "chardev=qmp-witness,mode=control"],
    ...["-drive", `if=none,id=disk0,format=raw,cache=none,file.locking=on,file.filename=${options.diskPath}`],
    ...["-device", "virtio-blk-pci,drive=disk0"],
    ...options.nics.flatMap((nic, index) => [
      ...["-netdev", netdevOf(nic, index, filesOf(options.nics))],
      ...["-device", `virtio-net-pci,id=nic${index},netdev=net${index},mac=${nic.mac},romfile=`],
    ]),
  ];
}

/** Fixed length, because a migrated guest kernel still believes in the item size that it read at boot. */
function hostIdentity(host: string, index: number, hostCount: number): string {
  return `${host} ${index} ${hostCount}`.padEnd(31);
}

function unixServer(id: string, path: string, extra = ""): string[] {
  return ["-chardev", `socket,id=${id},path=${path},server=on,wait=off${extra}`];
}
