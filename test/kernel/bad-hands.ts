/**
 * NICs that no agent may take, each with what is said of it: the part of the definition at fault, as the proto names it.
 */
import { MacvtapMode, NicDefinition, TapOnBridge, UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { macOf } from "./guest-nics.ts";
import { run } from "./in-network-namespace.ts";

export interface BadNic {
  readonly what: string;
  readonly nic: NicDefinition;
  readonly code: "INVALID_ARGUMENT" | "FAILED_PRECONDITION";
  readonly reason?: string;
  readonly field: string;
}

/** What the NICs of the table run into, beside br0. */
export function addObstacles(): void {
  run("ip", "link", "add", "br1", "type", "bridge");
  run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1");
  run("ip", "tuntap", "add", "tap8", "mode", "tap");
  run("ip", "link", "set", "tap8", "master", "br1");
  run("ip", "tuntap", "add", "tun0", "mode", "tun");
  run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0");
  run("ip", "link", "set", "eth0", "up");
  run("ip", "link", "add", "mv8", "link", "eth0", "address", macOf(8), "type", "macvtap", "mode", "bridge");
  run("ip", "link", "add", "eth9", "type", "veth", "peer", "name", "far9");
  run("ip", "link", "set", "eth9", "up");
  run("ip", "addr", "add", "10.7.0.1/24", "dev", "eth9");
}

const MAC = macOf(1);

function tap(change: Parameters<typeof TapOnBridge.fromPartial>[0] = {}): NicDefinition {
  const value = TapOnBridge.fromPartial({ deviceName: "bad0", bridge: "br0", ...change });
  return withDevice({ $case: "tapOnBridge", value });
}

function macvtap(change: { deviceName?: string; parent?: string; mode?: MacvtapMode } = {}): NicDefinition {
  const device = { deviceName: "bad0", parent: "eth0", mode: MacvtapMode.BRIDGE, ...change };
  return withDevice({ $case: "macvtap", value: device });
}

function routed(
  change: { deviceName?: string; hostAddresses?: string[]; routes?: string[] } = {},
): NicDefinition {
  const device = { deviceName: "bad0", hostAddresses: [], routes: ["192.0.2.9/32"], ...change };
  return withDevice({ $case: "routedTap", value: device });
}

function withDevice(device: NicDefinition["device"]): NicDefinition {
  return { ...NicDefinition.fromPartial({ nicId: "bad", macAddress: MAC }), device };
}

type Refused = Pick<BadNic, "code" | "reason" | "field">;

function invalid(field: string, reason?: string): Refused {
  return { code: "INVALID_ARGUMENT", field, ...(reason === undefined ? {} : { reason }) };
}

function impossible(field: string, reason: string): Refused {
  return { code: "FAILED_PRECONDITION", field, reason };
}

const NAMES: readonly (readonly [what: string, name: string])[] = [
  ["with a slash", "a/b"],
  ["of 200 characters", "x".repeat(200)],
  ["of 16 characters", "x".repeat(16)],
  ["that is empty", ""],
  ["..", ".."],
  ["with a space", "a b"],
  ["with a zero", "a\0b"],
  ["with a pattern for the kernel to number", "tap%d"],
];

const MACS: readonly (readonly [what: string, mac: string, reason: string | undefined])[] = [
  ["that is multicast", "01:00:5e:00:00:01", "MAC_MULTICAST"],
  ["that is broadcast", "ff:ff:ff:ff:ff:ff", "MAC_MULTICAST"],
  ["of zeros", "00:00:00:00:00:00", "MAC_ZERO"],
  ["that is cut short", "52:54:00", undefined],
  ["that is empty", "", undefined],
];

const TYPES = [
  ["tap_on_bridge", tap],
  ["macvtap", macvtap],
  ["routed_tap", routed],
] as const;

export const BAD_NICS: readonly BadNic[] = [
  ...TYPES.flatMap(([field, make]) =>
    NAMES.map(([what, deviceName]) => ({
      what: `a device name ${what} (${field})`,
      nic: make({ deviceName }),
      ...invalid(`${field}.device_name`),
    })),
  ),
  ...TYPES.flatMap(([field, make]) =>
    MACS.map(([what, macAddress, reason]) => ({
      what: `a MAC ${what} (${field})`,
      nic: { ...make(), macAddress },
      ...invalid("mac_address", reason),
    })),
  ),
  { what: "no device", nic: withDevice(undefined), ...invalid("device", "REQUIRED") },
  { what: "a NIC id with a slash", nic: { ...tap(), nicId: "a/b" }, ...invalid("nic_id") },
  {
    what: "a guest's address that is none",
    nic: { ...tap(), guestAddresses: ["300.1.1.1"] },
    ...invalid("guest_addresses[0]"),
  },
  {
    what: "a further MAC that is multicast",
    nic: { ...tap(), additionalMacAddresses: ["01:00:5e:00:00:01"] },
    ...invalid("additional_mac_addresses[0]", "MAC_MULTICAST"),
  },
  ...[0, 4095, 70_000].map((vlan) => ({
    what: `VLAN ${vlan}`,
    nic: tap({ vlans: [7, vlan] }),
    ...invalid("tap_on_bridge.vlans[1]", "VLAN_OUT_OF_RANGE"),
  })),
  {
    what: "VLANs on a bridge that does not filter them",
    nic: tap({ vlans: [7] }),
    ...impossible("tap_on_bridge.vlans", "BRIDGE_NOT_VLAN_AWARE"),
  },
  {
    what: "a multicast group that is none",
    nic: tap({ multicastGroups: ["10.1.2.3"] }),
    ...invalid("tap_on_bridge.multicast_groups[0]"),
  },
  {
    what: "a VXLAN device of 200 characters",
    nic: tap({ vxlan: { deviceName: "x".repeat(200), vtepAddress: "10.7.0.1" } }),
    ...invalid("tap_on_bridge.vxlan.device_name"),
  },
  { what: "a bridge with a slash", nic: tap({ bridge: "a/b" }), ...invalid("tap_on_bridge.bridge") },
  {
    what: "a tap that is to be its own bridge",
    nic: tap({ deviceName: "br0" }),
    ...invalid("tap_on_bridge.device_name"),
  },
  {
    what: "a bridge that is not there",
    nic: tap({ bridge: "br9" }),
    ...impossible("tap_on_bridge.bridge", "BRIDGE_MISSING"),
  },
  {
    what: "a bridge that is none",
    nic: tap({ bridge: "veth0" }),
    ...impossible("tap_on_bridge.bridge", "NOT_A_BRIDGE"),
  },
  {
    what: "a bridge that is down",
    nic: tap({ bridge: "br1" }),
    ...impossible("tap_on_bridge.bridge", "BRIDGE_DOWN"),
  },
  ...(["veth0", "tun0", "mv8", "br1", "lo"] as const).map((deviceName) => ({
    what: `${deviceName} for a tap`,
    nic: tap({ deviceName }),
    ...impossible("tap_on_bridge.device_name", "NOT_A_TAP"),
  })),
  {
    what: "a tap of another bridge",
    nic: tap({ deviceName: "tap8" }),
    ...impossible("tap_on_bridge.device_name", "PORT_OF_ANOTHER"),
  },
  {
    what: "a parent of 200 characters",
    nic: macvtap({ parent: "x".repeat(200) }),
    ...invalid("macvtap.parent"),
  },
  {
    what: "a macvtap of itself",
    nic: macvtap({ deviceName: "eth0" }),
    ...invalid("macvtap.device_name"),
  },
  {
    what: "no mode",
    nic: macvtap({ mode: MacvtapMode.UNSPECIFIED }),
    ...invalid("macvtap.mode", "REQUIRED"),
  },
  {
    what: "a parent that is not there",
    nic: macvtap({ parent: "eth7" }),
    ...impossible("macvtap.parent", "PARENT_MISSING"),
  },
  {
    what: "a parent that is itself a macvtap",
    nic: macvtap({ parent: "mv8" }),
    ...impossible("macvtap.parent", "PARENT_IS_MACVTAP"),
  },
  ...(["lo", "tun0"] as const).map((parent) => ({
    what: `a parent without Ethernet frames (${parent})`,
    nic: macvtap({ parent }),
    ...impossible("macvtap.parent", "PARENT_NOT_ETHERNET"),
  })),
  {
    what: "a parent that is a bridge's port",
    nic: macvtap({ parent: "tap8" }),
    ...impossible("macvtap.parent", "PARENT_IS_PORT"),
  },
  {
    what: "a parent that others share, for passthrough",
    nic: macvtap({ mode: MacvtapMode.PASSTHROUGH }),
    ...impossible("macvtap.parent", "PARENT_IN_USE"),
  },
  {
    what: "a parent that the host uses, for passthrough",
    nic: macvtap({ parent: "eth9", mode: MacvtapMode.PASSTHROUGH }),
    ...impossible("macvtap.parent", "PARENT_HAS_ADDRESSES"),
  },
  {
    what: "a MAC that is another macvtap's of the parent",
    nic: { ...macvtap(), macAddress: macOf(8) },
    ...impossible("mac_address", "MAC_IN_USE"),
  },
  ...(["veth0", "tap8", "br1"] as const).map((deviceName) => ({
    what: `${deviceName} for a macvtap`,
    nic: macvtap({ deviceName }),
    ...impossible("macvtap.device_name", "NOT_A_MACVTAP"),
  })),
  ...(["veth0", "tun0", "br1"] as const).map((deviceName) => ({
    what: `${deviceName} for a routed tap`,
    nic: routed({ deviceName }),
    ...impossible("routed_tap.device_name", "NOT_A_TAP"),
  })),
  {
    what: "a bridge's port for a routed tap",
    nic: routed({ deviceName: "tap8" }),
    ...impossible("routed_tap.device_name", "PORT_OF_ANOTHER"),
  },
  {
    what: "a host's address that is none",
    nic: routed({ hostAddresses: ["10.1.0.1/24", "300.1.1.1/32"] }),
    ...invalid("routed_tap.host_addresses[1]"),
  },
  {
    what: "a route without its length",
    nic: routed({ routes: ["192.0.2.7"] }),
    ...invalid("routed_tap.routes[0]"),
  },
  {
    what: "the default route",
    nic: routed({ routes: ["0.0.0.0/0"] }),
    ...invalid("routed_tap.routes[0]"),
  },
  {
    what: "the host's own network for a route",
    nic: routed({ routes: ["10.7.0.0/24"] }),
    ...impossible("routed_tap.routes[0]", "PREFIX_OF_HOST"),
  },
  {
    what: "no kind",
    nic: withDevice({ $case: "unmanaged", value: { kind: UnmanagedKind.UNSPECIFIED } }),
    ...invalid("unmanaged.kind", "REQUIRED"),
  },
];
