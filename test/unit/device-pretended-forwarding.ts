import type { Link } from "../../agent/netlink/link.ts";
import type { FdbEntry } from "../../agent/netlink/neighbour.ts";
import type { RouteResult } from "../../agent/netlink/route-port.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import { done, refusal } from "./device-pretended-answer.ts";

const ENOENT = 2;
const EEXIST = 17;
const ENODEV = 19;
const EINVAL = 22;
const EOPNOTSUPP = 95;

export type ForwardingRequest = Extract<RouteRequest, { op: "replaceFdbEntry" | "deleteFdbEntry" }>;

/** The forwarding tables of all bridges, with the kernel's answers as measured on Linux 6.18. */
export class PretendedForwarding {
  /** By bridge, address and VLAN. */
  readonly #entries = new Map<string, FdbEntry>();
  readonly #registration: "replace" | "exclusive";

  constructor(registration: "replace" | "exclusive") {
    this.#registration = registration;
  }

  /** `port` is the device of the request, where that exists. */
  carryOut(request: ForwardingRequest, port: Link | undefined): RouteResult {
    if (port === undefined) return refusal(ENODEV);
    const { masterIfindex } = port;
    if (masterIfindex === undefined) return refusal(EOPNOTSUPP);
    const { ifindex, macAddress, vlan } = request;
    const key = keyOf(masterIfindex, macAddress, vlan);
    // Of a kernel that filters, by its source (br_fdb_add, br_fdb_delete): the one measured cannot.
    if (vlan !== undefined && !(port.portVlans ?? []).includes(vlan)) return refusal(EINVAL);
    if (request.op === "replaceFdbEntry") {
      if (this.#registration === "exclusive" && this.#entries.has(key)) return refusal(EEXIST);
      const entry = { ifindex, macAddress, state: "static", sticky: request.sticky, masterIfindex } as const;
      this.#entries.set(key, vlan === undefined ? entry : { ...entry, vlan });
      return done;
    }
    if (this.#entries.get(key)?.ifindex !== ifindex) return refusal(ENOENT);
    this.#entries.delete(key);
    return done;
  }

  /** As Linux 6.1 does it. */
  flush({ ifindex, vlan }: Pick<FdbEntry, "ifindex" | "vlan">): RouteResult {
    for (const [key, entry] of this.#entries) {
      if (entry.ifindex === ifindex && entry.vlan === vlan && entry.state === "static")
        this.#entries.delete(key);
    }
    return done;
  }

  /** What a frame that comes in by the port changes; `movedFrom` is the entry that was there. */
  learn(
    ifindex: number,
    masterIfindex: number,
    macAddress: MacAddress,
  ): "nothing" | { readonly movedFrom: FdbEntry | undefined } {
    const movedFrom = this.find(masterIfindex, macAddress);
    if (movedFrom?.ifindex === ifindex || movedFrom?.sticky === "sticky") return "nothing";
    const learned = { ifindex, macAddress, state: "dynamic", sticky: "plain", masterIfindex } as const;
    this.set({ ...(movedFrom ?? learned), ifindex });
    return { movedFrom };
  }

  set(entry: FdbEntry): void {
    this.#entries.set(keyOf(entry.masterIfindex, entry.macAddress, entry.vlan), entry);
  }

  delete(entry: FdbEntry): void {
    this.#entries.delete(keyOf(entry.masterIfindex, entry.macAddress, entry.vlan));
  }

  find(masterIfindex: number, macAddress: string, vlan?: number): FdbEntry | undefined {
    return this.#entries.get(keyOf(masterIfindex, macAddress, vlan));
  }

  of(bridgeIfindex: number): readonly FdbEntry[] {
    return [...this.#entries.values()].filter(({ masterIfindex }) => masterIfindex === bridgeIfindex);
  }

  /** What goes with a port that leaves its bridge, and with a bridge. */
  forget(ifindex: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.ifindex === ifindex || entry.masterIfindex === ifindex) this.#entries.delete(key);
    }
  }

  /** Unsorted lines: `br0 52:54:00:00:00:01 tap0 static sticky`, `br0 52:54:00:00:00:01 vlan 7 tap0 static sticky`. */
  lines(nameOf: (ifindex: number) => string): readonly string[] {
    return [...this.#entries.values()].map(({ masterIfindex, macAddress, vlan, ifindex, state, sticky }) => {
      const inVlan = vlan === undefined ? [] : [`vlan ${vlan}`];
      return [nameOf(masterIfindex ?? 0), macAddress, ...inVlan, nameOf(ifindex), state, sticky].join(" ");
    });
  }
}

function keyOf(bridgeIfindex: number | undefined, macAddress: string, vlan?: number): string {
  return `${bridgeIfindex} ${macAddress}${vlan === undefined ? "" : ` ${vlan}`}`;
}
