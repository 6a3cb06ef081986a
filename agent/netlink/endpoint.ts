import { SwitchoverError } from "../../proto/error.ts";
import { EAGAIN, EINTR, ENOBUFS, errnoName } from "./errno.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import * as libc from "./libc.ts";

/** Datagrams to and from the kernel, in the calling thread. */
export interface NetlinkEndpoint {
  /** Hands one datagram to the kernel, which has carried out its requests on return. */
  send(datagram: Uint8Array): void;
  /** The next datagram, valid until the next call; DEADLINE_EXCEEDED where none comes in time. */
  receive(): Uint8Array;
  /** Throws away all that has come. */
  drain(): void;
  close(): void;
}

export interface EndpointOptions {
  /** How long `receive` waits; the kernel answers within the send, so this is for a broken one. */
  readonly receiveTimeoutMs?: number;
  /** Room for answers. 64 acknowledged requests with their replies need less than 512 KiB. */
  readonly receiveBufferBytes?: number;
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const SOCKADDR_NL_BYTES = 12;
const SOCKADDR_NL_GROUPS = 8;
/** How much of one datagram a socket takes. */
export const DATAGRAM_BYTES = 64 * 1024;
const MAX_INTERRUPTIONS = 16;
const MAX_DRAINED = 100_000;

/**
 * Opens a NETLINK_ROUTE socket in the thread's network namespace, where it stays whatever the thread does later.
 * Throws UNAVAILABLE with the name of the error number where the system refuses.
 */
export function openRouteEndpoint(options: EndpointOptions = {}): NetlinkEndpoint {
  const { receiveTimeoutMs = 1000, receiveBufferBytes = 4 * 1024 * 1024 } = options;
  return new SocketEndpoint(
    openRouteFd(receiveBufferBytes, 0, (set) => setRouteOptions(set, receiveTimeoutMs)),
  );
}

/** Of a socket that asks: its deadline, short acks with the kernel's words, and dumps of what was asked for alone. */
export function setRouteOptions(set: SetOption, receiveTimeoutMs: number): void {
  set(SOL_SOCKET, SO_RCVTIMEO, timeval(receiveTimeoutMs), "set the receive deadline of a netlink socket");
  set(SOL_NETLINK, NETLINK_CAP_ACK, int32(1), "ask netlink for short acks");
  set(SOL_NETLINK, NETLINK_EXT_ACK, int32(1), "ask netlink for the texts of its errors");
  set(SOL_NETLINK, NETLINK_GET_STRICT_CHK, int32(1), "ask netlink for filtered dumps");
}

type SetOption = (level: number, name: number, value: Uint8Array, what: string) => void;

/** `groups` is the mask of the multicast groups (`RTMGRP_*`) that the socket hears. Throws as its callers say. */
export function openRouteFd(
  receiveBufferBytes: number,
  groups: number,
  configure: (set: SetOption) => void = () => undefined,
): number {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) throw systemError("open a netlink socket", -fd);
  const set: SetOption = (level, name, value, what) => {
    const result = libc.setsockopt(fd, level, name, value);
    if (result < 0) throw systemError(what, -result);
  };
  try {
    if (libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, int32(receiveBufferBytes)) < 0) {
      set(SOL_SOCKET, SO_RCVBUF, int32(receiveBufferBytes), "size the receive buffer of a netlink socket");
    }
    configure(set);
    const address = new Uint8Array(SOCKADDR_NL_BYTES);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(SOCKADDR_NL_GROUPS, groups, HOST_IS_LITTLE_ENDIAN);
    const bound = libc.bind(fd, address);
    if (bound < 0) throw systemError("bind a netlink socket", -bound);
    return fd;
  } catch (thrown) {
    libc.close(fd);
    throw thrown;
  }
}

class SocketEndpoint implements NetlinkEndpoint {
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  send(datagram: Uint8Array): void {
    const sent = uninterrupted(() => libc.send(this.#fd, datagram, 0));
    if (sent < 0) throw systemError("send to netlink", -sent);
  }

  receive(): Uint8Array {
    const received = uninterrupted(() => libc.recv(this.#fd, this.#buffer, libc.MSG_TRUNC));
    if (received < 0) throw systemError("receive from netlink", -received);
    if (received > this.#buffer.length) {
      throw new SwitchoverError("INTERNAL", `A netlink datagram of ${received} bytes does not fit.`, {
        reason: "NETLINK_TRUNCATED",
      });
    }
    return this.#buffer.subarray(0, received);
  }

  drain(): void {
    for (let i = 0; i < MAX_DRAINED; i++) {
      const received = libc.recv(this.#fd, this.#buffer, libc.MSG_DONTWAIT | libc.MSG_TRUNC);
      if (received < 0 && received !== -ENOBUFS && received !== -EINTR) return;
    }
  }

  close(): void {
    if (this.#fd < 0) return;
    libc.close(this.#fd);
    this.#fd = -1;
  }
}

function uninterrupted(call: () => number): number {
  let result = call();
  for (let i = 0; result === -EINTR && i < MAX_INTERRUPTIONS; i++) result = call();
  return result;
}

export function systemError(what: string, errno: number): SwitchoverError {
  const name = errnoName(errno);
  if (errno === EAGAIN) {
    return new SwitchoverError("DEADLINE_EXCEEDED", "The kernel did not answer a netlink request in time.", {
      reason: "NETLINK_TIMEOUT",
    });
  }
  if (errno === ENOBUFS) {
    return new SwitchoverError("UNAVAILABLE", "Netlink answers were lost: the receive buffer was full.", {
      reason: "ENOBUFS",
    });
  }
  return new SwitchoverError("UNAVAILABLE", `Could not ${what}: ${name}.`, { reason: name });
}

/** `struct timeval` of a 64-bit machine. */
function timeval(durationMs: number): Uint8Array {
  const seconds = Math.floor(durationMs / 1000);
  const microseconds = Math.round((durationMs - seconds * 1000) * 1000);
  return new Uint8Array(BigInt64Array.of(BigInt(seconds), BigInt(microseconds)).buffer);
}

function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}
