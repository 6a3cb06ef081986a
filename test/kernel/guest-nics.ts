import type { DeviceOwnership } from "../../agent/device/device.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import type { NicReport } from "../../agent/device/nic-set.ts";
import type { RoutedTapNic } from "../../agent/device/routed-tap/definition.ts";
import { deviceFactory } from "../../agent/device/tap-creation.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { openRouteSocket, type RouteSocket } from "../../agent/netlink/route-socket.ts";
import { parseIpPrefix } from "../../proto/ip-prefix.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";

/** The address of the guest's n-th NIC. */
export function macOf(index: number): string {
  return `52:54:00:00:00:${(index + 1).toString(16).padStart(2, "0")}`;
}

/** The guest's n-th NIC, on `tap<n>` and br0, managed by Switchover and sticky unless said otherwise. */
export function tapNic(index: number, change: Partial<TapOnBridgeNic> = {}): TapOnBridgeNic {
  return {
    type: "tapOnBridge",
    nicId: `net${index}`,
    macAddress: parseMacAddress(macOf(index), "mac_address"),
    deviceName: `tap${index}`,
    bridge: "br0",
    macTableManager: "switchover",
    sticky: "sticky",
    ...change,
  };
}

export function tapNics(count: number, change: Partial<TapOnBridgeNic> = {}): TapOnBridgeNic[] {
  return Array.from({ length: count }, (_, index) => tapNic(index, change));
}

/** The guest's n-th NIC, on `mv<n>` of eth0 in bridge mode unless said otherwise. */
export function macvtapNic(index: number, change: Partial<MacvtapNic> = {}): MacvtapNic {
  return {
    type: "macvtap",
    nicId: `net${index}`,
    macAddress: parseMacAddress(macOf(index), "mac_address"),
    deviceName: `mv${index}`,
    parent: "eth0",
    mode: "bridge",
    ...change,
  };
}

/** The guest's n-th NIC, on `tap<n>`, to which the host routes an address of each family. */
export function routedNic(
  index: number,
  prefixes: { readonly hostAddresses?: readonly string[]; readonly routes?: readonly string[] } = {},
): RoutedTapNic {
  const { hostAddresses = ["169.254.0.1/32", "fe80::1/64"] } = prefixes;
  const { routes = [`192.0.2.${index + 7}/32`, `2001:db8::${index + 7}/128`] } = prefixes;
  return {
    type: "routedTap",
    nicId: `net${index}`,
    macAddress: parseMacAddress(macOf(index), "mac_address"),
    deviceName: `tap${index}`,
    hostAddresses: hostAddresses.map((text) => parseIpPrefix(text, "host_addresses")),
    routes: routes.map((text) => parseIpPrefix(text, "routes")),
  };
}

export function clockUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

/** Hands a route socket of the thread's namespace to `body`, and what preparing needs. */
export async function withHost(
  body: (host: HostDevices & { readonly route: RouteSocket }) => void | Promise<void>,
): Promise<void> {
  const route = openRouteSocket();
  try {
    await body({ route, factory: deviceFactory });
  } finally {
    route.close();
  }
}

export function ownershipsOf(
  prepared: readonly { readonly nicId: string; readonly ownership: DeviceOwnership }[],
) {
  return new Map(prepared.map(({ nicId, ownership }) => [nicId, ownership]));
}

/** `net0 removed, net1 failed ENODEV`. */
export function outcomesOf(
  reports: readonly NicReport<{ readonly result: string; readonly problem?: { readonly reason: string } }>[],
): string {
  return reports
    .map(({ nicId, outcome }) => [nicId, outcome.result, outcome.problem?.reason].filter(Boolean).join(" "))
    .join(", ");
}
