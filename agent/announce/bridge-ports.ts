/**
 * The ports of bridges, looked up beside what counts: a bridge of a thousand ports takes the kernel and the decoder tens
 * of milliseconds, so they are read on a socket of their own, one datagram (some twenty ports) a turn of the event loop.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import { type NetlinkEndpoint, openRouteEndpoint } from "../netlink/endpoint.ts";
import { errnoName } from "../netlink/errno.ts";
import { type Link, RTM_NEWLINK } from "../netlink/link.ts";
import { decodeLink } from "../netlink/link-decoder.ts";
import { decodeMessages, decodeVerdict, NLMSG_DONE, NLMSG_ERROR, patchSequence } from "../netlink/message.ts";
import { encodeDump } from "../netlink/route-request.ts";

/** Guests that arrive together share what was read. */
const KNOWN_FOR_US = 1_000_000;
const MAX_DATAGRAMS = 10_000;

export interface BridgePorts {
  /**
   * The links that are ports of the bridge, as they were at most a second ago; one that came or went meanwhile may be
   * there or not. Throws UNAVAILABLE or DEADLINE_EXCEEDED where the kernel does not tell.
   */
  of(bridgeIfindex: number): Promise<readonly Link[]>;
}

export interface BridgePortsSocket extends BridgePorts {
  /** Nothing is read any more. Idempotent. */
  close(): void;
}

/** Opens a socket in the thread's network namespace, where it stays. Throws as `openRouteEndpoint` does. */
export function openBridgePorts(clock: Clock): BridgePortsSocket {
  return new BridgePortsReader(openRouteEndpoint(), clock);
}

class BridgePortsReader implements BridgePortsSocket {
  readonly #endpoint: NetlinkEndpoint;
  readonly #clock: Clock;
  readonly #known = new Map<
    number,
    { readonly readAtUs: number; readonly ports: Promise<readonly Link[]> }
  >();
  /** One dump at a time. */
  #last: Promise<unknown> = Promise.resolve();
  #sequence = 0;

  constructor(endpoint: NetlinkEndpoint, clock: Clock) {
    this.#endpoint = endpoint;
    this.#clock = clock;
  }

  of(bridgeIfindex: number): Promise<readonly Link[]> {
    const nowUs = this.#clock.unixUs();
    for (const [ifindex, { readAtUs }] of this.#known) {
      if (Math.abs(nowUs - readAtUs) >= KNOWN_FOR_US) this.#known.delete(ifindex);
    }
    const known = this.#known.get(bridgeIfindex);
    if (known !== undefined) return known.ports;
    const read = () => this.#read(bridgeIfindex);
    const ports = this.#last.then(read, read);
    this.#last = ports;
    this.#known.set(bridgeIfindex, { readAtUs: nowUs, ports });
    ports.catch(() => this.#known.delete(bridgeIfindex));
    return ports;
  }

  close(): void {
    this.#endpoint.close();
  }

  async #read(masterIfindex: number): Promise<readonly Link[]> {
    try {
      const request = encodeDump({ op: "dumpLinks", masterIfindex });
      this.#sequence = (this.#sequence + 1) >>> 0;
      patchSequence(new DataView(request.buffer, request.byteOffset, request.byteLength), 0, this.#sequence);
      this.#endpoint.send(request);
      const links: Link[] = [];
      for (let count = 0; count < MAX_DATAGRAMS; count++) {
        if (this.#take(links) === "done") return links;
        await nextTurn();
      }
      throw new SwitchoverError("UNAVAILABLE", "The list of a bridge's ports has no end.", {
        reason: "DUMP_ENDLESS",
      });
    } catch (thrown) {
      this.#endpoint.drain();
      throw thrown;
    }
  }

  /** Reads one datagram into `links`. */
  #take(links: Link[]): "more" | "done" {
    for (const message of decodeMessages(this.#endpoint.receive())) {
      if (message.sequence !== this.#sequence) continue;
      if (message.type === RTM_NEWLINK) links.push(decodeLink(message.payload));
      if (message.type !== NLMSG_DONE && message.type !== NLMSG_ERROR) continue;
      const { errno } = decodeVerdict(message);
      if (errno === 0) return "done";
      const reason = errnoName(errno);
      throw new SwitchoverError("UNAVAILABLE", `The kernel does not list a bridge's ports: ${reason}.`, {
        reason,
      });
    }
    return "more";
  }
}
