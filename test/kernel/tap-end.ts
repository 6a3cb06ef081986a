/**
 * The guest's end of a tap, or a wire into a bridge: frames written here enter the bridge, frames that the bridge
 * sends to the port are read here.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { run } from "./in-network-namespace.ts";

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const FRAME_BYTES = 2048;
const ETHERNET_MIN_BYTES = 60;

const ioctl = koffi.load(null).func("int ioctl(int fd, unsigned long request, void *argument)");

/**
 * The end of a macvtap of this network namespace. Its file is made anew by its device number: those in /dev are named by
 * ifindex alone, which a macvtap of a namespace that is just going away may have as well.
 */
export function openMacvtap(deviceName: string): TapEnd {
  const folder = fs.mkdtempSync(join(tmpdir(), "switchover-macvtap-"));
  const file = join(folder, deviceName);
  try {
    const ownSysfs = `mount -t sysfs sysfs /sys && cat /sys/class/net/${deviceName}/macvtap/tap*/dev`;
    const number = run("unshare", "--mount", "sh", "-c", ownSysfs).trim();
    run("mknod", file, "c", ...number.split(":"));
    return new TapEnd(deviceName, file);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

export class TapEnd {
  readonly #fd: number;

  /** Attaches to a tap, creating it (until closed) where it does not exist; or to a macvtap, by its own file. */
  constructor(deviceName: string, characterDevice = "/dev/net/tun") {
    this.#fd = fs.openSync(characterDevice, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    const request = Buffer.alloc(40);
    request.write(deviceName, "latin1");
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
    if (ioctl(this.#fd, TUNSETIFF, request) !== 0) {
      fs.closeSync(this.#fd);
      throw new Error(`TUNSETIFF ${deviceName}: errno ${koffi.errno()}`);
    }
  }

  /** Sends a frame of an experimental Ethernet type (88b5), padded to Ethernet's minimum. */
  send(from: string, to: string, text: string): void {
    const frame = Buffer.alloc(Math.max(ETHERNET_MIN_BYTES, 14 + text.length));
    frame.write(`${to}${from}88b5`.replaceAll(":", ""), "hex");
    frame.write(text, 14, "latin1");
    this.sendFrame(frame);
  }

  /** Sends any frame as it is. */
  sendFrame(frame: Uint8Array): void {
    fs.writeSync(this.#fd, frame);
  }

  /** Every frame that waits in the tap. */
  frames(): Buffer[] {
    const frames: Buffer[] = [];
    const buffer = Buffer.alloc(FRAME_BYTES);
    for (;;) {
      try {
        frames.push(Buffer.from(buffer.subarray(0, fs.readSync(this.#fd, buffer))));
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === "EAGAIN") return frames;
        throw thrown;
      }
    }
  }

  /** The texts of the frames that wait, of those that `send` made. */
  texts(): string[] {
    return this.frames()
      .filter((frame) => frame.readUInt16BE(12) === 0x88b5)
      .map((frame) => frame.subarray(14).toString("latin1").replace(/\0+$/, ""));
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/** Makes a bridge, up, that does nothing by itself; `options` are ip-link's. */
export function addBridge(name: string, ...options: readonly string[]): void {
  run("ip", "link", "add", name, "type", "bridge", "mcast_snooping", "0", ...options);
  run("ip", "link", "set", name, "addrgenmode", "none");
  run("ip", "link", "set", name, "up");
}

/** Makes the way to other hosts: a learning, flooding port whose far end is returned. */
export function addUplink(name: string, bridge: string): TapEnd {
  const uplink = new TapEnd(name);
  run("ip", "link", "set", name, "addrgenmode", "none", "master", bridge);
  run("ip", "link", "set", name, "up");
  return uplink;
}
