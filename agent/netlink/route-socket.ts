/**
 * The kernel behind a RoutePort: one NETLINK_ROUTE socket, used synchronously.
 *
 * The whole batch is sent and acknowledged in one tick of the event loop: rtnetlink carries out requests inside the
 * send, so the answers wait in the socket when it returns, and a promise would only add latency to a switchover.
 * One caller at a time; a storm on the kernel's rtnl lock blocks the send, and with it the thread.
 */
import { SwitchoverError } from "../../proto/error.ts";
import { type EndpointOptions, type NetlinkEndpoint, openRouteEndpoint } from "./endpoint.ts";
import { errnoName } from "./errno.ts";
import {
  decodeMessages,
  decodeVerdict,
  type KernelVerdict,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  patchSequence,
} from "./message.ts";
import type { RouteBatch, RouteDatagram } from "./route-batch.ts";
import type { RouteMessage, RoutePort, RouteResult } from "./route-port.ts";
import { decodeReply } from "./route-reply.ts";
import { answerOf, encodeDump, type RouteDump } from "./route-request.ts";

/** Late answers to an abandoned batch that are skipped before the socket is given up on. */
const MAX_STRAYS = 4096;
const MAX_DUMP_ATTEMPTS = 5;
const MAX_DUMP_DATAGRAMS = 100_000;

export interface RouteSocket extends RoutePort {
  /** Idempotent; a closed socket refuses with UNAVAILABLE (errno 9). */
  close(): void;
}

/** Opens a socket in the thread's network namespace; see `openRouteEndpoint`. */
export function openRouteSocket(options: EndpointOptions = {}): RouteSocket {
  return routeSocketOn(openRouteEndpoint(options));
}

/** A route socket on any endpoint. */
export function routeSocketOn(endpoint: NetlinkEndpoint): RouteSocket {
  return new EndpointRouteSocket(endpoint);
}

class EndpointRouteSocket implements RouteSocket {
  readonly #endpoint: NetlinkEndpoint;
  #sequence = 0;

  constructor(endpoint: NetlinkEndpoint) {
    this.#endpoint = endpoint;
  }

  execute(batch: RouteBatch): RouteResult[] {
    return this.#drainOnThrow(() => batch.datagrams.flatMap((datagram) => this.#exchange(datagram)));
  }

  ready(batch: RouteBatch): void {
    void batch.datagrams;
  }

  dump(dump: RouteDump): RouteMessage[] {
    const result = this.#drainOnThrow(() => this.#readTable(encodeDump(dump)));
    if (result.ok) return [...result.messages];
    const { name, text } = result;
    throw new SwitchoverError("UNAVAILABLE", `The kernel refused ${dump.op}: ${name}. ${text}`.trim(), {
      reason: name,
    });
  }

  close(): void {
    this.#endpoint.close();
  }

  /** Sends one datagram and returns a result for each of its requests. */
  #exchange(datagram: RouteDatagram): RouteResult[] {
    const { requests, bytes, offsets } = datagram;
    if (requests[0] !== undefined && answerOf(requests[0]) === "dump") return [this.#readTable(bytes)];
    const first = this.#advance(requests.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    offsets.forEach((offset, index) => {
      patchSequence(view, offset, (first + index) >>> 0);
    });
    this.#endpoint.send(bytes);
    const results: (RouteResult | undefined)[] = new Array(requests.length).fill(undefined);
    let missing = requests.length;
    let strays = 0;
    while (missing > 0) {
      for (const message of decodeMessages(this.#endpoint.receive())) {
        const index = (message.sequence - first) >>> 0;
        const request = requests[index];
        if (request === undefined || results[index] !== undefined) {
          strays = countStray(strays);
          continue;
        }
        if (message.type === NLMSG_ERROR) results[index] = resultOf(decodeVerdict(message));
        else if (answerOf(request) === "reply") results[index] = { ok: true, messages: decodeReply(message) };
        else {
          strays = countStray(strays);
          continue;
        }
        missing--;
      }
    }
    return results.filter((result) => result !== undefined);
  }

  /** Sends one request for a dump, again where its table changed meanwhile. */
  #readTable(bytes: Uint8Array): RouteResult {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let attempt = 0; attempt < MAX_DUMP_ATTEMPTS; attempt++) {
      patchSequence(view, 0, this.#advance(1));
      this.#endpoint.send(bytes);
      const result = this.#collectDump();
      if (result !== "interrupted") return result;
    }
    throw new SwitchoverError("UNAVAILABLE", `The table changed during each of ${MAX_DUMP_ATTEMPTS} dumps.`, {
      reason: "DUMP_INTERRUPTED",
    });
  }

  /** Receives until the end of the dump that was sent last. */
  #collectDump(): RouteResult | "interrupted" {
    const collected: RouteMessage[] = [];
    let interrupted = false;
    let strays = 0;
    for (let i = 0; i < MAX_DUMP_DATAGRAMS; i++) {
      for (const message of decodeMessages(this.#endpoint.receive())) {
        if (message.sequence !== this.#sequence) {
          strays = countStray(strays);
          continue;
        }
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type !== NLMSG_DONE && message.type !== NLMSG_ERROR) {
          collected.push(...decodeReply(message));
          if ((message.flags & NLM_F_MULTI) === 0) return { ok: true, messages: collected };
          continue;
        }
        const verdict = resultOf(decodeVerdict(message));
        if (!verdict.ok) return verdict;
        return interrupted ? "interrupted" : { ok: true, messages: collected };
      }
    }
    throw new SwitchoverError("UNAVAILABLE", `A dump did not end within ${MAX_DUMP_DATAGRAMS} datagrams.`, {
      reason: "DUMP_ENDLESS",
    });
  }

  /** Takes `count` sequence numbers and returns the first. */
  #advance(count: number): number {
    const first = (this.#sequence + 1) >>> 0;
    this.#sequence = (this.#sequence + count) >>> 0;
    return first;
  }

  /** After lost or unreadable answers the rest of them must not fill the buffer for the next batch. */
  #drainOnThrow<T>(work: () => T): T {
    try {
      return work();
    } catch (thrown) {
      this.#endpoint.drain();
      throw SwitchoverError.from(thrown);
    }
  }
}

function countStray(strays: number): number {
  if (strays < MAX_STRAYS) return strays + 1;
  throw new SwitchoverError("UNAVAILABLE", `Netlink sent ${strays} messages that nobody asked for.`, {
    reason: "NETLINK_STRAYS",
  });
}

function resultOf({ errno, text }: KernelVerdict): RouteResult {
  return errno === 0 ? { ok: true, messages: [] } : { ok: false, errno, name: errnoName(errno), text };
}
