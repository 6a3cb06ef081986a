import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pollUntil } from "../lab/deadline.ts";
import { QmpConnection } from "../lab/qmp-connection.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";

/**
 * A guest that is up in a tenth of a second: a boot sector that does one thing for each letter on its serial port, says `.`
 * there when it is done, and powers off when its power button is pressed. Every line is what `as` makes of the words.
 */
const PROGRAM: readonly (readonly [bytes: string, words: string])[] = [
  ["31c0 8ed8 8ec0 8ed0 bc007c", "xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00"],
  ["ba0206 b80001 ef", "mov dx,0x602; mov ax,0x100; out dx,ax  (ACPI: enable the power button)"],
  ["b02e eb62", "mov al,'.'; jmp say"],
  ["fb f4", "wait: sti; hlt"],
  ["ba0006 ed f6c401 7526", "mov dx,0x600; in ax,dx; test ah,1; jnz poweroff  (ACPI: was it pressed?)"],
  ["bafd03 ec a801 74ed", "mov dx,0x3fd; in al,dx; test al,1; jz wait  (serial port: is a letter there?)"],
  ["baf803 ec", "mov dx,0x3f8; in al,dx"],
  ["3c77 7437", "cmp al,'w'; je write"],
  ["3c70 7422", "cmp al,'p'; je panic"],
  ["3c64 7425", "cmp al,'d'; je watchdog"],
  ["3c73 740f", "cmp al,'s'; je suspend"],
  ["3c72 7537", "cmp al,'r'; jne say"],
  ["baf90c b006 ee", "mov dx,0xcf9; mov al,6; out dx,al  (reset)"],
  ["b80020 eb03", "poweroff: mov ax,0x2000; jmp sleep"],
  ["b80024", "suspend: mov ax,0x2400"],
  ["ba0406 ef b02e eb21", "sleep: mov dx,0x604; out dx,ax; mov al,'.'; jmp say  (ACPI: S5 or S3)"],
  ["ba0505 b001 eb05", "panic: mov dx,0x505; mov al,1; jmp poke  (pvpanic)"],
  ["ba4304 b00f", "watchdog: mov dx,0x443; mov al,0xf  (ib700: expires in 0 s)"],
  ["ee b02e eb10", "poke: out dx,al; mov al,'.'; jmp say"],
  ["b80103 bb007c b90200 ba8000 cd13", "write: mov ax,0x301; mov bx,0x7c00; mov cx,2; mov dx,0x80; int 0x13"],
  ["b02e", "mov al,'.'"],
  ["baf803 ee eb98", "say: mov dx,0x3f8; out dx,al; jmp wait"],
];

const DISK_BYTES = 1 << 20;
const BOOT_SIGNATURE = [0x55, 0xaa];
const SIGNATURE_AT = 510;
const TIMEOUT_MS = 10_000;

/** What it does at a letter. */
const LETTERS = { write: "w", panic: "p", watchdog: "d", suspend: "s", reset: "r" } as const;

export interface TinyGuestOptions {
  /** A tap that exists in the thread's network namespace. */
  readonly tap: string;
  readonly mac: string;
  /** `held`: `-S`; `incoming`: `-S -incoming defer`. */
  readonly boot: "held" | "incoming";
  /** Further arguments of QEMU. */
  readonly more?: readonly string[];
}

/** A QEMU of that guest, with a QMP socket for the agent and one for its owner, whose client this is. */
export class TinyGuest {
  readonly agentQmpPath: string;
  readonly #serial: Socket;
  readonly #process: TrackedProcess;
  readonly #owner: QmpConnection;
  #said = 0;

  private constructor(agentQmpPath: string, process: TrackedProcess, owner: QmpConnection, serial: Socket) {
    this.agentQmpPath = agentQmpPath;
    this.#process = process;
    this.#owner = owner;
    this.#serial = serial;
    serial.on("data", ({ length }: Buffer) => {
      this.#said += length;
    });
  }

  static async start(folder: TinyGuestFolder, options: TinyGuestOptions): Promise<TinyGuest> {
    const paths = folder.socketPaths();
    const process = TrackedProcess.start([], "qemu-system-x86_64", qemuArguments(folder, paths, options));
    process.ignoreOutput();
    try {
      await pollUntil(
        () => {
          const exit = process.exit();
          if (exit !== undefined) throw new Error(`QEMU did not start: ${exit.stderr}`);
          return Object.values(paths).every((path) => existsSync(path)) || undefined;
        },
        TIMEOUT_MS,
        "QEMU's sockets",
      );
      const serial = await pollUntil(() => tryToConnect(paths.serial), TIMEOUT_MS, "The guest's serial port");
      const owner = await QmpConnection.open(paths.owner);
      const guest = new TinyGuest(paths.agent, process, owner, serial);
      folder.owns(guest);
      return guest;
    } catch (cause) {
      await process.kill();
      throw cause;
    }
  }

  /** Has the guest do it; what comes of it is told by QEMU. */
  does(what: keyof typeof LETTERS): void {
    this.#serial.write(LETTERS[what]);
  }

  /** Resolves when the guest's program waits for letters, after it has begun or done something since the last call. */
  async isUp(): Promise<void> {
    await pollUntil(() => this.#said > 0 || undefined, TIMEOUT_MS, "A word of the tiny guest");
    this.#said = 0;
  }

  /** A QMP command of its owner, who is not the agent. */
  async order(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return this.#owner.execute(command, args);
  }

  waitForExit(): Promise<unknown> {
    return this.#process.waitForExit(TIMEOUT_MS);
  }

  /** Idempotent. */
  async end(): Promise<void> {
    this.#owner.close();
    this.#serial.destroy();
    await this.#process.kill();
  }
}

/** A socket's path is there a moment before anybody listens on it. */
function tryToConnect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(socket));
    socket.on("error", () => resolve(undefined));
  });
}

interface SocketPaths {
  readonly agent: string;
  readonly owner: string;
  readonly serial: string;
}

/** A guest's disk, and the sockets of its QEMUs; removed, with all of them ended, by `remove`. */
export class TinyGuestFolder {
  readonly path: string;
  readonly #guests: TinyGuest[] = [];
  #started = 0;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<TinyGuestFolder> {
    const folder = new TinyGuestFolder(await mkdtemp(join(tmpdir(), "switchover-tiny-")));
    const disk = Buffer.alloc(DISK_BYTES);
    disk.set(Buffer.from(PROGRAM.map(([bytes]) => bytes.replaceAll(" ", "")).join(""), "hex"));
    disk.set(BOOT_SIGNATURE, SIGNATURE_AT);
    await writeFile(folder.diskPath, disk);
    return folder;
  }

  get diskPath(): string {
    return join(this.path, "disk");
  }

  get savePath(): string {
    return join(this.path, "saved");
  }

  socketPaths(): SocketPaths {
    const prefix = join(this.path, String(++this.#started));
    return { agent: `${prefix}.agent`, owner: `${prefix}.owner`, serial: `${prefix}.serial` };
  }

  owns(guest: TinyGuest): void {
    this.#guests.push(guest);
  }

  async remove(): Promise<void> {
    for (const guest of this.#guests) await guest.end();
    await rm(this.path, { recursive: true });
  }
}

/** Its first write fails for want of space, which stops it; tried again, it succeeds. */
function qemuArguments(folder: TinyGuestFolder, paths: SocketPaths, options: TinyGuestOptions): string[] {
  const disk = {
    ...{ driver: "blkdebug", "node-name": "disk0", image: "file0" },
    "inject-error": [{ event: "none", iotype: "write", errno: 28, once: true }],
  };
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "16"],
    ...["-accel", "tcg,thread=single", "-S", ...(options.boot === "incoming" ? ["-incoming", "defer"] : [])],
    ...["-qmp", `unix:${paths.agent},server=on,wait=off`, "-qmp", `unix:${paths.owner},server=on,wait=off`],
    ...[
      "-chardev",
      `socket,id=serial0,path=${paths.serial},server=on,wait=off`,
      "-serial",
      "chardev:serial0",
    ],
    ...["-blockdev", `driver=file,node-name=file0,filename=${folder.diskPath}`],
    ...["-blockdev", JSON.stringify(disk), "-device", "virtio-blk-pci,drive=disk0,werror=stop"],
    ...["-device", "pvpanic", "-device", "ib700", "-action", "panic=pause,watchdog=pause"],
    ...["-netdev", `tap,id=net0,ifname=${options.tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,netdev=net0,mac=${options.mac},romfile=`],
    ...(options.more ?? []),
  ];
}
