import type { RouteMessage, RouteResult } from "../../agent/netlink/route-port.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { containsParts, type IpPrefix, ipPrefixParts, middleOf } from "../../proto/ip-prefix.ts";
import { done, refusal } from "./device-pretended-answer.ts";

const ESRCH = 3;
const ENODEV = 19;
const EADDRNOTAVAIL = 99;
const ENETDOWN = 100;
const ENETUNREACH = 101;

export type RoutingRequest = Extract<
  RouteRequest,
  {
    op:
      | "replaceAddress"
      | "deleteAddress"
      | "getAddresses"
      | "replaceRoute"
      | "deleteRoute"
      | "getRoute"
      | "getRoutes";
  }
>;

/** Addresses and the main table's routes, with the kernel's answers as measured on Linux 6.18; no route of the kernel's own. */
export class PretendedRouting {
  /** By device. */
  readonly #addresses = new Map<number, Set<IpPrefix>>();
  readonly #routes = new Map<IpPrefix, number>();

  /** `device` is the one of the request, where it names one and that exists. */
  carryOut(request: RoutingRequest, device: { readonly state: "up" | "down" } | undefined): RouteResult {
    switch (request.op) {
      case "getRoute":
        return this.#lookUp(request.prefix);
      case "deleteRoute":
        if (this.#routes.get(request.prefix) !== request.ifindex) return refusal(ESRCH);
        this.#routes.delete(request.prefix);
        return done;
      case "replaceRoute":
        if (device === undefined) return refusal(ENODEV);
        if (device.state === "down") return refusal(ENETDOWN);
        this.#routes.set(request.prefix, request.ifindex);
        return done;
      case "getRoutes":
        return { ok: true, messages: this.#routesBy(request) };
      case "getAddresses":
      case "replaceAddress":
      case "deleteAddress":
        return device === undefined ? refusal(ENODEV) : this.#changeAddresses(request);
    }
  }

  /** The device goes down: IPv4 keeps its addresses there. Returns those that IPv6 does not. */
  goDown(ifindex: number): readonly IpPrefix[] {
    this.flushRoutes(ifindex);
    const addresses = this.#addresses.get(ifindex);
    const gone = [...(addresses ?? [])].filter((address) => ipPrefixParts(address).family === "ipv6");
    for (const address of gone) addresses?.delete(address);
    return gone;
  }

  flushRoutes(ifindex: number): void {
    for (const [prefix, by] of this.#routes) if (by === ifindex) this.#routes.delete(prefix);
  }

  /** Returns what was there. */
  flushAddresses(ifindex: number): readonly IpPrefix[] {
    const held = [...(this.#addresses.get(ifindex) ?? [])];
    this.#addresses.delete(ifindex);
    return held;
  }

  hasAddress(ifindex: number, address: IpPrefix): boolean {
    return this.#addresses.get(ifindex)?.has(address) === true;
  }

  /** By which device the very prefix is routed. */
  deviceOf(prefix: IpPrefix): number | undefined {
    return this.#routes.get(prefix);
  }

  remove(ifindex: number): void {
    this.flushRoutes(ifindex);
    this.#addresses.delete(ifindex);
  }

  /** Sorted text: `169.254.0.1/32 on tap0`, `192.0.2.7/32 by tap0`. */
  render(nameOf: (ifindex: number) => string): string {
    const addresses = [...this.#addresses].flatMap(([ifindex, held]) =>
      [...held].map((address) => `${address} on ${nameOf(ifindex)}`),
    );
    const routes = [...this.#routes].map(([prefix, ifindex]) => `${prefix} by ${nameOf(ifindex)}`);
    return [...addresses.sort(), ...routes.sort()].join("\n");
  }

  #changeAddresses(
    request: Extract<RoutingRequest, { op: "getAddresses" | "replaceAddress" | "deleteAddress" }>,
  ) {
    const { ifindex } = request;
    const held = this.#addresses.get(ifindex) ?? new Set<IpPrefix>();
    this.#addresses.set(ifindex, held);
    if (request.op === "getAddresses") {
      const messages = [...held].map(
        (address) => ({ type: "address", address: { ifindex, address } }) as const,
      );
      return { ok: true, messages } as const;
    }
    if (request.op === "deleteAddress") return held.delete(request.address) ? done : refusal(EADDRNOTAVAIL);
    held.add(request.address);
    return done;
  }

  #lookUp(prefix: IpPrefix): RouteResult {
    const middle = ipPrefixParts(middleOf(prefix));
    const [longest] = [...this.#routes]
      .map(([found, ifindex]) => ({ found, ifindex, parts: ipPrefixParts(found) }))
      .filter(({ parts }) => containsParts(parts, middle))
      .sort((left, right) => right.parts.length - left.parts.length);
    if (longest === undefined) return refusal(ENETUNREACH);
    const { found, ifindex } = longest;
    const route = { prefix: found, kind: "unicast", origin: "other", table: "main", ifindex } as const;
    return { ok: true, messages: [{ type: "route", route }] };
  }

  #routesBy({ ifindex, family }: Extract<RoutingRequest, { op: "getRoutes" }>): RouteMessage[] {
    return [...this.#routes]
      .filter(([prefix, by]) => by === ifindex && ipPrefixParts(prefix).family === family)
      .map(([prefix]) => ({
        type: "route",
        route: { prefix, kind: "unicast", origin: "other", table: "main", ifindex },
      }));
  }
}
