import { SwitchoverError } from "../../proto/error.ts";
import { type MacAddress, macAddressFromBytes } from "../../proto/mac-address.ts";
import { errnoName } from "../netlink/errno.ts";
import { HOST_IS_LITTLE_ENDIAN } from "../netlink/host-order.ts";
import * as libc from "../netlink/libc.ts";
import type { PacketLink, PacketPort } from "./packet-port.ts";
import { encodeSourceFilter, KEPT_BYTES } from "./source-filter.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL = 3;
const SOCKADDR_LL_BYTES = 20;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
/** When the frame that was read last came by; the first call of all has the kernel stamp frames from then on. */
const SIOCGSTAMP = 0x8906;
const TIMEVAL_BYTES = 16;
/** Room for some hundred heads of frames; the first one of each source is all that is wanted. */
const RECEIVE_BUFFER_BYTES = 64 * 1024;
const FRAMES_A_READ = 256;

/**
 * The links of the thread's network namespace at the time of `open`: one socket a link, which both sends and hears, since
 * the kernel shows a socket all frames that leave but its own.
 */
export const packetPort: PacketPort = {
  open(ifindex, sources) {
    // Without a protocol the socket hears nothing before it is bound, and so nothing but what the filter keeps.
    const fd = libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0) throw refused("open a packet socket", -fd);
    try {
      orThrow(
        libc.setsockopt(
          fd,
          SOL_SOCKET,
          SO_RCVBUF,
          new Uint8Array(Int32Array.of(RECEIVE_BUFFER_BYTES).buffer),
        ),
        "size the receive buffer of a packet socket",
      );
      orThrow(
        libc.setsockoptFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, encodeSourceFilter(sources)),
        "filter a packet socket",
      );
      libc.ioctlWithBytes(fd, SIOCGSTAMP, new Uint8Array(TIMEVAL_BYTES));
      orThrow(libc.bind(fd, linkAddress(ifindex)), "bind a packet socket");
    } catch (thrown) {
      libc.close(fd);
      throw thrown;
    }
    return new SocketLink(fd, sources);
  },
};

class SocketLink implements PacketLink {
  readonly #head = new Uint8Array(KEPT_BYTES);
  readonly #stamp = new Uint8Array(TIMEVAL_BYTES);
  readonly #sources: ReadonlySet<MacAddress>;
  readonly #heard = new Map<MacAddress, number>();
  /** Those of which the kernel has stamped a frame. */
  readonly #stamped = new Set<MacAddress>();
  #fd: number;

  constructor(fd: number, sources: readonly MacAddress[]) {
    this.#fd = fd;
    this.#sources = new Set(sources);
  }

  send(frame: Uint8Array): void {
    orThrow(libc.send(this.#fd, frame, libc.MSG_DONTWAIT), "send a frame");
  }

  heard(): ReadonlyMap<MacAddress, number> {
    const readAtUnixUs = Date.now() * 1_000;
    for (let count = 0; count < FRAMES_A_READ && this.#stamped.size < this.#sources.size; count++) {
      const received = libc.recv(this.#fd, this.#head, libc.MSG_DONTWAIT);
      if (received < 0) break;
      const source = macAddressFromBytes(this.#head, 6);
      if (!this.#sources.has(source) || this.#stamped.has(source)) continue;
      const atUnixUs = this.#lastStampUnixUs();
      // A frame that has none gets one now, which is no earlier than this reading.
      const isStamped = atUnixUs !== null && atUnixUs < readAtUnixUs;
      if (isStamped) this.#stamped.add(source);
      if (isStamped || !this.#heard.has(source)) this.#heard.set(source, atUnixUs ?? readAtUnixUs);
    }
    return this.#heard;
  }

  #lastStampUnixUs(): number | null {
    if (libc.ioctlWithBytes(this.#fd, SIOCGSTAMP, this.#stamp) < 0) return null;
    const { buffer } = this.#stamp;
    const [seconds = 0n, microseconds = 0n] = new BigInt64Array(buffer);
    return Number(seconds) * 1_000_000 + Number(microseconds);
  }

  /** The kernel waits out an RCU grace period, some 16 ms: not in this thread. */
  close(): void {
    if (this.#fd < 0) return;
    libc.closeElsewhere(this.#fd);
    this.#fd = -1;
  }
}

/** `struct sockaddr_ll`. */
function linkAddress(ifindex: number): Uint8Array {
  const address = new Uint8Array(SOCKADDR_LL_BYTES);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(2, ETH_P_ALL);
  view.setInt32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  return address;
}

function orThrow(result: number, what: string): void {
  if (result < 0) throw refused(what, -result);
}

function refused(what: string, errno: number): SwitchoverError {
  const reason = errnoName(errno);
  return new SwitchoverError("UNAVAILABLE", `Could not ${what}: ${reason}.`, { reason });
}
