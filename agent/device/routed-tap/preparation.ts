import { ipPrefixParts } from "../../../proto/ip-prefix.ts";
import { type MacAddress, macAddressBytes, macAddressFromBytes } from "../../../proto/mac-address.ts";
import type { Link, LinkChange } from "../../netlink/link.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import { CREATED_ALIAS, originOf } from "../created-device.ts";
import type { DevicePreparation, NicProblem } from "../device.ts";
import { deviceMissing, isSilent, notATap, notSilent, takesIpv6 } from "../device-link.ts";
import { DEEDS } from "../request-deeds.ts";
import { isErrno, linkOf } from "../route-answers.ts";
import type { Inherited } from "../tap-creation.ts";
import type { RoutedTapNic } from "./definition.ts";
import {
  DEVICE_FIELD,
  judgeLink,
  judgeNoAddress,
  judgeNoRoute,
  portOfAnother,
  readBack,
  readBackOf,
  refused,
  routeOf,
} from "./state.ts";

/**
 * The tap's own address is the gateway's to the guest, which keeps it when it moves: derived from the guest's, it is the
 * same on every host. Locally administered, as libvirt has it; the second one is for a guest that has the first.
 */
const HOST_FIRST_OCTETS = [0xfe, 0xfa] as const;
const LOOPBACK = "lo";

/**
 * Makes a tap where there is none, and takes it, or the one that is there, down.
 *
 * Down and not merely without addresses: to one that is up the host may send MLD reports (where it forwards IPv6), as
 * may daemons of its own, and it routes into the world whatever a VMM writes there. Coming up costs 0.08 ms when the
 * guest starts. A stop leaves one with addresses up: going down waits for all CPUs, 0.1 to 0.2 ms a tap on an idle host and 2 ms on a
 * busy one, when nothing leads to the guest any more (150 times each on Linux 6.18).
 */
export const routedTapPreparation: DevicePreparation<RoutedTapNic> = {
  // Where nobody tells what a tap has that is to be made, a device that is always there shows what the host has at least.
  ask: (nic) => [
    { op: "getLink", name: LOOPBACK },
    ...nic.routes.map((prefix) => ({ op: "getRoute", prefix }) as const),
  ],

  // No other route is in the way: one to the guest's present host is what is to be expected.
  refusals(nic, links, { answers: [loopback, ...answers], inherited }, occasion) {
    const device = links.get(nic.deviceName);
    const problem =
      notATap(device, nic.deviceName, DEVICE_FIELD) ??
      (device?.masterIfindex === undefined ? undefined : portOfAnother(nic)) ??
      hostsOwnPrefix(nic, device, answers) ??
      (occasion === "leave"
        ? undefined
        : ipv6Disabled(nic, ipv6Of(device) ?? inherited?.ipv6 ?? ipv6Of(linkOf(loopback))));
    return problem === undefined ? [] : [problem];
  },

  creation: (nic, links) =>
    links.has(nic.deviceName) ? undefined : { by: "tun", deviceName: nic.deviceName },

  plan(nic, before, after) {
    const device = after.get(nic.deviceName);
    if (device === undefined) return [];
    const { ifindex } = device;
    const change = quietChange(nic, device, before.has(nic.deviceName) ? "existing" : "created");
    return [
      { op: "setLink", ifindex, change: { state: "down" } },
      ...(Object.keys(change).length > 0 ? [{ op: "setLink", ifindex, change } as const] : []),
      // The kernel keeps IPv4 addresses on a device that is down, and answers to them.
      ...nic.hostAddresses.map((address) => ({ op: "deleteAddress", ifindex, address }) as const),
      ...readBack(nic, { deviceIfindex: ifindex, parentIfindex: 0 }),
    ];
  },

  judge(nic, before, after, results) {
    const device = after.get(nic.deviceName);
    if (device === undefined) return deviceMissing(nic.deviceName, DEVICE_FIELD);
    const requests: readonly RouteRequest[] = this.plan(nic, before, after);
    for (const [index, { op }] of requests.entries()) {
      const result = results[index];
      if (op === "getRoute" || result?.ok === true || isErrno(result, "EADDRNOTAVAIL")) continue;
      return refused(nic, DEEDS[op], result);
    }
    const held = readBackOf(nic, results);
    const link = linkOf(held.link);
    const place = { deviceIfindex: device.ifindex, parentIfindex: 0 };
    const problem =
      judgeLink(nic, place, held.link, "down") ??
      judgeNoAddress(nic, held.addresses) ??
      judgeNoRoute(nic, place, held.routes) ??
      (link === undefined ? undefined : notSilent(link, DEVICE_FIELD)) ??
      ipv6Disabled(nic, ipv6Of(link));
    if (problem !== undefined || link?.macAddress !== nic.macAddress) return problem;
    return {
      reason: "ADDRESS_IN_USE",
      sentence: `${nic.macAddress} is still the address of ${nic.deviceName} itself.`,
      field: "mac_address",
    };
  },

  // What addresses and routes an existing device had is not known: they stay away.
  undo(nic, before, after) {
    const device = after.get(nic.deviceName);
    if (device === undefined) return [];
    const { ifindex } = device;
    const was = before.get(nic.deviceName);
    if (was === undefined) return [{ op: "deleteLink", ifindex }];
    const restore: LinkChange = {
      ...(was.macAddress === undefined ? {} : { macAddress: was.macAddress }),
      ...(was.addrGenMode === "eui64" ? { addrGenMode: "eui64" as const } : {}),
    };
    return [
      { op: "setLink", ifindex, change: restore },
      ...(was.state === "up" ? [{ op: "setLink", ifindex, change: { state: "up" } } as const] : []),
    ];
  },

  ownership(nic, before) {
    return { device: originOf(before.get(nic.deviceName)), port: "existing" };
  },
};

/**
 * A start takes a prefix over from whoever routes it, a daemon or another instance of the guest; never from the host
 * itself, which would lose its own network.
 */
function hostsOwnPrefix(
  nic: RoutedTapNic,
  device: Link | undefined,
  answers: readonly RouteResult[],
): NicProblem | undefined {
  for (const [index, prefix] of nic.routes.entries()) {
    const route = routeOf(answers[index]);
    if (route?.prefix !== prefix || (route.kind === "unicast" && route.origin !== "kernel")) continue;
    if (route.ifindex !== undefined && route.ifindex === device?.ifindex) continue;
    return {
      reason: "PREFIX_OF_HOST",
      sentence: `${prefix} is an address of the host itself, or its network.`,
      field: `routed_tap.routes[${index}]`,
    };
  }
  return undefined;
}

function ipv6Of(device: Link | undefined): Inherited["ipv6"] | undefined {
  if (device === undefined) return undefined;
  return takesIpv6(device) ? "enabled" : "disabled";
}

/** Undefined also where nothing is known of the device's IPv6. */
function ipv6Disabled(nic: RoutedTapNic, ipv6: Inherited["ipv6"] | undefined): NicProblem | undefined {
  if (ipv6 !== "disabled") return undefined;
  for (const part of ["hostAddresses", "routes"] as const) {
    const index = nic[part].findIndex((prefix) => ipPrefixParts(prefix).family === "ipv6");
    if (index < 0) continue;
    return {
      reason: "IPV6_DISABLED",
      sentence: `${nic[part][index]} cannot be given to ${nic.deviceName}: the host has IPv6 disabled there.`,
      field: `routed_tap.${part === "routes" ? "routes" : "host_addresses"}[${index}]`,
    };
  }
  return undefined;
}

/** What has to change before the device goes up again. */
function quietChange(nic: RoutedTapNic, device: Link, origin: "created" | "existing"): LinkChange {
  const isGuests = device.macAddress === nic.macAddress;
  return {
    ...(origin === "created" || isGuests ? { macAddress: hostMacAddress(nic.macAddress) } : {}),
    ...(origin === "created" ? { alias: CREATED_ALIAS } : {}),
    ...(isSilent(device) ? {} : { addrGenMode: "none" as const }),
  };
}

function hostMacAddress(guest: MacAddress): MacAddress {
  const bytes = macAddressBytes(guest);
  const [usual, other] = HOST_FIRST_OCTETS;
  bytes[0] = bytes[0] === usual ? other : usual;
  return macAddressFromBytes(bytes);
}
