/**
 * Whole tables of the kernel's, read beside what counts: a host of thousands of links, or with a full routing table, takes
 * the kernel and the decoder tens of milliseconds, in which no switchover may wait. The kernel works in another thread,
 * and what it answers is decoded one datagram (some twenty links) a turn of the event loop.
 */
import { SwitchoverError } from "../../proto/error.ts";
import { DATAGRAM_BYTES, openRouteFd, setRouteOptions, systemError } from "./endpoint.ts";
import { EAGAIN, EINTR, errnoName } from "./errno.ts";
import * as libc from "./libc.ts";
import {
  decodeMessages,
  decodeVerdict,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  patchSequence,
} from "./message.ts";
import type { RouteMessage } from "./route-port.ts";
import { decodeReply } from "./route-reply.ts";
import { encodeDump, encodeRequest, type RouteDump, type RouteRequest } from "./route-request.ts";

/** What the kernel answers with a table. */
export type TableRequest = RouteDump | Extract<RouteRequest, { op: "getAddresses" | "getRoutes" }>;

export interface TableReader {
  /**
   * One table, as it was while it was read: what came or went meanwhile may be there or not. One after another. Throws
   * UNAVAILABLE or DEADLINE_EXCEEDED where the kernel does not tell.
   */
  read(request: TableRequest): Promise<readonly RouteMessage[]>;
}

export interface TableSocket extends TableReader {
  /** Nothing is read any more; what is under way fails. Idempotent. */
  close(): void;
}

const RECEIVE_TIMEOUT_MS = 1_000;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
const MAX_DATAGRAMS = 100_000;
const MAX_INTERRUPTIONS = 16;

/** Opens a socket in the thread's network namespace, where it stays. Throws as `openRouteEndpoint` does. */
export function openTableReader(): TableSocket {
  return new SocketTableReader(
    openRouteFd(RECEIVE_BUFFER_BYTES, 0, (set) => setRouteOptions(set, RECEIVE_TIMEOUT_MS)),
  );
}

class SocketTableReader implements TableSocket {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  #sequence = 0;
  #last: Promise<unknown> = Promise.resolve();
  #state: "open" | "closed" = "open";

  constructor(fd: number) {
    this.#fd = fd;
  }

  read(request: TableRequest): Promise<readonly RouteMessage[]> {
    const read = () => this.#read(request);
    const messages = this.#last.then(read, read);
    this.#last = messages;
    return messages;
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    // Another thread may be in a call on it, and a number that is free is soon another file's.
    const closeFd = () => void libc.close(this.#fd);
    this.#last.then(closeFd, closeFd);
  }

  async #read(request: TableRequest): Promise<readonly RouteMessage[]> {
    if (this.#state === "closed") throw closed();
    const bytes = isRouteRequest(request) ? encodeRequest(request) : encodeDump(request);
    this.#sequence = (this.#sequence + 1) >>> 0;
    patchSequence(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, this.#sequence);
    try {
      // The kernel fills the first datagram within the send.
      const sent = await libc.sendElsewhere(this.#fd, bytes, 0);
      if (sent < 0) throw systemError("send to netlink", -sent);
      const messages: RouteMessage[] = [];
      for (let count = 0; count < MAX_DATAGRAMS; count++) {
        if (this.#take(await this.#receive(), messages) === "done") return messages;
      }
      throw new SwitchoverError("UNAVAILABLE", `A dump did not end within ${MAX_DATAGRAMS} datagrams.`, {
        reason: "DUMP_ENDLESS",
      });
    } catch (thrown) {
      while (libc.recv(this.#fd, this.#buffer, libc.MSG_DONTWAIT | libc.MSG_TRUNC) > 0);
      throw SwitchoverError.from(thrown);
    }
  }

  /** Decodes one datagram of the dump that was sent last. */
  #take(datagram: Uint8Array, messages: RouteMessage[]): "more" | "done" {
    for (const message of decodeMessages(datagram)) {
      if (message.sequence !== this.#sequence) continue;
      if (message.type !== NLMSG_DONE && message.type !== NLMSG_ERROR) {
        messages.push(...decodeReply(message));
        if ((message.flags & NLM_F_MULTI) === 0) return "done";
        continue;
      }
      const { errno } = decodeVerdict(message);
      if (errno === 0) return "done";
      const reason = errnoName(errno);
      throw new SwitchoverError("UNAVAILABLE", `The kernel does not tell a table: ${reason}.`, { reason });
    }
    return "more";
  }

  async #receive(): Promise<Uint8Array> {
    for (let attempt = 0; attempt < MAX_INTERRUPTIONS; attempt++) {
      const received = await libc.recvElsewhere(this.#fd, this.#buffer, libc.MSG_TRUNC);
      if (this.#state === "closed") throw closed();
      if (received > this.#buffer.length) {
        throw new SwitchoverError("INTERNAL", `A netlink datagram of ${received} bytes does not fit.`, {
          reason: "NETLINK_TRUNCATED",
        });
      }
      if (received >= 0) return this.#buffer.subarray(0, received);
      if (received !== -EINTR) throw systemError("receive from netlink", -received);
    }
    throw systemError("receive from netlink", EAGAIN);
  }
}

function isRouteRequest(request: TableRequest): request is Extract<TableRequest, RouteRequest> {
  return request.op === "getAddresses" || request.op === "getRoutes";
}

function closed(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "The reader of the kernel's tables is closed.", {
    reason: "CLOSED",
  });
}
