/**
 * The kernel's notifications: a NETLINK_ROUTE socket of its own in the groups RTNLGRP_LINK, RTNLGRP_NEIGH,
 * RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR and RTNLGRP_MDB.
 *
 * The kernel says by SIGURG that something waits (F_SETSIG, O_ASYNC), and it is then read without blocking: nothing is
 * polled, no thread waits, and a notification is heard 10 - 20 us after the change, where a thread that blocks in recv()
 * takes 30 - 50. SIGURG because it is ignored where nobody handles it, so that no order of closing can end the process.
 */
import { setImmediate } from "node:timers";
import { DATAGRAM_BYTES, openRouteFd, systemError } from "./endpoint.ts";
import { EINTR, ENOBUFS } from "./errno.ts";
import { decodeChanges, type KernelChange, type KernelChanges } from "./kernel-change.ts";
import * as libc from "./libc.ts";

export interface ChangeSocketOptions {
  /** Room for notifications between two turns of the event loop; an entry's takes about 1 KiB of it. */
  readonly receiveBufferBytes?: number;
}

export interface ChangeSocket extends KernelChanges {
  /** Nothing is told any more. Idempotent. */
  close(): void;
}

const RTMGRP_LINK = 0x1;
const RTMGRP_NEIGH = 0x4;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;
/** RTNLGRP_MDB, 26, as a bit of the mask. */
const RTMGRP_MDB = 0x2000000;
const GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_MDB;
const F_GETFL = 3;
const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_ASYNC = 0o20000;
const SIGURG = 23;
/** What else waits, such as a VMM's STOP, comes before the rest of a storm: about 0.2 ms. */
const DATAGRAMS_A_TURN = 64;

/**
 * Opens the socket in the thread's network namespace, where it stays whatever the thread does later. For the main thread.
 * Throws UNAVAILABLE with the name of the error number where the system refuses.
 */
export function openChangeSocket(options: ChangeSocketOptions = {}): ChangeSocket {
  return new SignalledChangeSocket(openRouteFd(options.receiveBufferBytes ?? 8 * 1024 * 1024, GROUPS));
}

class SignalledChangeSocket implements ChangeSocket {
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  readonly #listeners = new Set<(changes: readonly KernelChange[]) => void>();
  readonly #onSignal = () => this.#read();
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    process.on("SIGURG", this.#onSignal);
    try {
      this.#control(F_SETOWN, process.pid);
      this.#control(F_SETSIG, SIGURG);
      this.#control(F_SETFL, this.#control(F_GETFL, 0) | O_ASYNC);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  watch(listener: (changes: readonly KernelChange[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#fd < 0) return;
    libc.close(this.#fd);
    this.#fd = -1;
    process.off("SIGURG", this.#onSignal);
  }

  #control(command: number, argument: number): number {
    const result = libc.fcntl(this.#fd, command, argument);
    if (result < 0) throw systemError("ask for a netlink socket's signal", -result);
    return result;
  }

  /** The signal says that something came, not how much: it is read until nothing is left. */
  #read(): void {
    const changes: KernelChange[] = [];
    let left: "some" | "none" = "some";
    for (let count = 0; count < DATAGRAMS_A_TURN && left === "some"; count++) {
      if (this.#fd < 0) return;
      const received = libc.recv(this.#fd, this.#buffer, libc.MSG_DONTWAIT | libc.MSG_TRUNC);
      if (received === -EINTR) continue;
      if (received === -ENOBUFS || received > this.#buffer.length) changes.push({ kind: "overrun" });
      else if (received <= 0) left = "none";
      else changes.push(...decodeChanges(this.#buffer.subarray(0, received)));
    }
    if (left === "some") setImmediate(this.#onSignal);
    if (changes.length > 0) for (const listener of [...this.#listeners]) listener(changes);
  }
}
