/** The ports of bridges, looked up beside what counts, on a socket of their own (`table-reader.ts`). */
import type { Clock } from "../clock.ts";
import type { Link } from "../netlink/link.ts";
import { openTableReader, type TableSocket } from "../netlink/table-reader.ts";

/** Guests that arrive together share what was read. */
const KNOWN_FOR_US = 1_000_000;

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

/** Opens a socket in the thread's network namespace, where it stays. Throws as `openTableReader` does. */
export function openBridgePorts(clock: Clock): BridgePortsSocket {
  return new BridgePortsReader(openTableReader(), clock);
}

class BridgePortsReader implements BridgePortsSocket {
  readonly #tables: TableSocket;
  readonly #clock: Clock;
  readonly #known = new Map<
    number,
    { readonly readAtUs: number; readonly ports: Promise<readonly Link[]> }
  >();

  constructor(tables: TableSocket, clock: Clock) {
    this.#tables = tables;
    this.#clock = clock;
  }

  of(bridgeIfindex: number): Promise<readonly Link[]> {
    const nowUs = this.#clock.unixUs();
    for (const [ifindex, { readAtUs }] of this.#known) {
      if (Math.abs(nowUs - readAtUs) >= KNOWN_FOR_US) this.#known.delete(ifindex);
    }
    const known = this.#known.get(bridgeIfindex);
    if (known !== undefined) return known.ports;
    const ports = this.#read(bridgeIfindex);
    this.#known.set(bridgeIfindex, { readAtUs: nowUs, ports });
    ports.catch(() => this.#known.delete(bridgeIfindex));
    return ports;
  }

  close(): void {
    this.#tables.close();
  }

  async #read(masterIfindex: number): Promise<readonly Link[]> {
    const messages = await this.#tables.read({ op: "dumpLinks", masterIfindex });
    return messages.flatMap((message) => (message.type === "link" ? [message.link] : []));
  }
}
