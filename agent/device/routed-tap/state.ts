import { type IpPrefix, ipPrefixParts } from "../../../proto/ip-prefix.ts";
import type { Route } from "../../netlink/route.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace, NicProblem } from "../device.ts";
import { recreated } from "../device-link.ts";
import { isErrno, linkOf, refusedBy } from "../route-answers.ts";
import type { RoutedTapNic } from "./definition.ts";

export const DEVICE_FIELD = "routed_tap.device_name";

/**
 * What a stop leaves of the tap. One without addresses tells only by being down that its guest does not run: what one
 * look-up a route says can be another table's word.
 */
export function quarantinedState(nic: RoutedTapNic): "down" | "any" {
  return nic.hostAddresses.length === 0 ? "down" : "any";
}

/** What leads to a NIC, as `leading` asks for it. */
export interface Leading {
  readonly addresses: RouteResult | undefined;
  /** One for each of the NIC's routes. */
  readonly routes: readonly (RouteResult | undefined)[];
}

export function readBack(nic: RoutedTapNic, place: NicPlace): readonly RouteRequest[] {
  return [{ op: "getLink", name: nic.deviceName }, ...leading(nic, place)];
}

/** The answers to `readBack`, which are the last ones of `results`. */
export function readBackOf(
  nic: RoutedTapNic,
  results: readonly RouteResult[],
): Leading & { readonly link: RouteResult | undefined } {
  return { link: results[results.length - nic.routes.length - 2], ...leadingOf(nic, results) };
}

/** Without the device itself, which takes longest to read. */
export function leading(nic: RoutedTapNic, place: NicPlace): readonly RouteRequest[] {
  return [
    { op: "getAddresses", ifindex: place.deviceIfindex },
    ...nic.routes.map((prefix) => ({ op: "getRoute", prefix }) as const),
  ];
}

/** The answers to `leading`, which are the last ones of `results`. */
export function leadingOf(nic: RoutedTapNic, results: readonly RouteResult[]): Leading {
  const [addresses, ...routes] = results.slice(results.length - nic.routes.length - 1);
  return { addresses, routes: nic.routes.map((_, index) => routes[index]) };
}

/** Undefined where the device is this one and in the state, and, if that is `up`, a port of nothing: only then it matters. */
export function judgeLink(
  nic: RoutedTapNic,
  place: NicPlace,
  result: RouteResult | undefined,
  state: "up" | "down" | "any",
): NicProblem | undefined {
  const link = linkOf(result);
  if (link === undefined) return refused(nic, "read back", result);
  if (link.masterIfindex !== undefined && state === "up") return portOfAnother(nic);
  const otherDevice = recreated(link, place, DEVICE_FIELD);
  if (otherDevice !== undefined || state === "any" || link.state === state) return otherDevice;
  const reason = state === "up" ? "DEVICE_DOWN" : "DEVICE_UP";
  return { reason, sentence: `${nic.deviceName} is ${link.state}.`, field: DEVICE_FIELD };
}

/** Undefined where the device has all of the host's addresses. */
export function judgeAddresses(nic: RoutedTapNic, result: RouteResult | undefined): NicProblem | undefined {
  if (result?.ok !== true) return refused(nic, "read the addresses of", result);
  const index = nic.hostAddresses.findIndex((address) => !hasAddress(result, address));
  if (index < 0) return undefined;
  return {
    reason: "ADDRESS_MISSING",
    sentence: `${nic.deviceName} does not have ${nic.hostAddresses[index]}.`,
    field: `routed_tap.host_addresses[${index}]`,
  };
}

/** Undefined where the device has none of the host's addresses. */
export function judgeNoAddress(nic: RoutedTapNic, result: RouteResult | undefined): NicProblem | undefined {
  // Of a device that is gone, nothing is left.
  if (isErrno(result, "ENODEV")) return undefined;
  if (result?.ok !== true) return refused(nic, "read the addresses of", result);
  const index = nic.hostAddresses.findIndex((address) => hasAddress(result, address));
  if (index < 0) return undefined;
  return {
    reason: "UNWANTED_ADDRESS",
    sentence: `${nic.deviceName} has ${nic.hostAddresses[index]}, and its guest does not run.`,
    field: `routed_tap.host_addresses[${index}]`,
  };
}

/** Undefined where every prefix leads to the guest, as far as one look at each can tell. */
export function judgeRoutes(
  nic: RoutedTapNic,
  place: NicPlace,
  results: Leading["routes"],
): NicProblem | undefined {
  for (const [index, prefix] of nic.routes.entries()) {
    const field = `routed_tap.routes[${index}]`;
    const route = routeOf(results[index]);
    if (route === undefined) {
      const sentence = `Nothing leads to ${prefix}, which should lead to ${nic.deviceName}.`;
      return { reason: "ROUTE_MISSING", sentence, field };
    }
    if (route.table === "other" || leadsTo(place, prefix, route)) continue;
    const { length } = ipPrefixParts(route.prefix);
    const isSame = route.prefix === prefix;
    if (isSame && route.kind === "local") {
      return { reason: "PREFIX_OF_HOST", sentence: `${prefix} is an address of the host itself.`, field };
    }
    if (isSame) {
      const sentence = `${prefix} leads to ${wayOf(route)}, and not to ${nic.deviceName}.`;
      return { reason: "ROUTED_ELSEWHERE", sentence, field };
    }
    // One that is longer hides the one address that was asked about, and says nothing of the rest.
    if (length > ipPrefixParts(prefix).length) continue;
    const sentence = `There is no route to ${prefix}; ${route.prefix} leads to ${wayOf(route)}.`;
    return { reason: "ROUTE_MISSING", sentence, field };
  }
  return undefined;
}

/** Undefined where no prefix leads to the guest. */
export function judgeNoRoute(
  nic: RoutedTapNic,
  place: NicPlace,
  results: Leading["routes"],
): NicProblem | undefined {
  const index = nic.routes.findIndex((prefix, at) => {
    const route = routeOf(results[at]);
    return route !== undefined && leadsTo(place, prefix, route);
  });
  if (index < 0) return undefined;
  const sentence = `${nic.routes[index]} leads to ${nic.deviceName}, whose guest does not run.`;
  return { reason: "UNWANTED_ROUTE", sentence, field: `routed_tap.routes[${index}]` };
}

/** The device by which others reach the guest, where one of its very prefixes leads there. */
export function elsewhereOf(nic: RoutedTapNic, results: Leading["routes"]): number | undefined {
  for (const [index, prefix] of nic.routes.entries()) {
    const route = routeOf(results[index]);
    if (route?.prefix === prefix && route.kind === "unicast") return route.ifindex;
  }
  return undefined;
}

export function routeOf(result: RouteResult | undefined): Route | undefined {
  const message = result?.ok === true ? result.messages[0] : undefined;
  return message?.type === "route" ? message.route : undefined;
}

export function portOfAnother(nic: RoutedTapNic): NicProblem {
  return {
    reason: "PORT_OF_ANOTHER",
    sentence: `${nic.deviceName} is a port of another device: what reaches it is not the host's to route.`,
    field: DEVICE_FIELD,
  };
}

export function refused(nic: RoutedTapNic, deed: string, result: RouteResult | undefined): NicProblem {
  return refusedBy(nic.deviceName, DEVICE_FIELD, deed, result);
}

function hasAddress(result: RouteResult & { readonly ok: true }, address: IpPrefix): boolean {
  return result.messages.some((message) => message.type === "address" && message.address.address === address);
}

function leadsTo(place: NicPlace, prefix: IpPrefix, route: Route): boolean {
  return route.prefix === prefix && route.kind === "unicast" && route.ifindex === place.deviceIfindex;
}

function wayOf({ ifindex }: Route): string {
  return ifindex === undefined ? "several devices" : `ifindex ${ifindex}`;
}
