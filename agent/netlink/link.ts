/**
 * Network devices as data, and the requests that change them: RTM_NEWLINK, RTM_DELLINK and RTM_GETLINK.
 */
import type { IpAddress } from "../../proto/ip-address.ts";
import { type MacAddress, macAddressBytes } from "../../proto/mac-address.ts";
import { NLA_F_NESTED } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import {
  AF_INET6,
  BRPORT,
  IFF_UP,
  IFINFOMSG_BYTES,
  IFLA,
  IFLA_INET6_ADDR_GEN_MODE,
  IN6_ADDR_GEN_MODE_EUI64,
  IN6_ADDR_GEN_MODE_NONE,
  INFO,
  RTEXT_FILTER_SKIP_STATS,
} from "./link-attributes.ts";
import { encodeMessage, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from "./message.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWLINKPROP = 108;
const RTM_DELLINKPROP = 109;

export type Switch = "on" | "off";

/** What a bridge does with frames at one port: `learning`, `flood`, `mcast_flood`, `bcast_flood` of ip-link. */
export interface BridgePortFlags {
  readonly learning: Switch;
  readonly unicastFlood: Switch;
  readonly multicastFlood: Switch;
  readonly broadcastFlood: Switch;
}

export type OperState = "unknown" | "notPresent" | "down" | "lowerLayerDown" | "testing" | "dormant" | "up";

/** How the kernel makes the device's IPv6 link-local address; with `none` it sends nothing by itself. */
export type AddrGenMode = "eui64" | "none" | "stableSecret" | "random";

/**
 * Which frames the macvtaps of one parent get, as ip-link names it. In `source` they come from senders that are listed, and
 * where none is, none comes.
 */
export type MacvlanMode = "private" | "vepa" | "bridge" | "passthrough" | "source";
/** What a NIC can be defined as. */
export type MacvtapMode = Exclude<MacvlanMode, "source">;

/** By the kernel's number (`MACVLAN_MODE_*`). */
export const MACVLAN_MODES: ReadonlyMap<number, MacvlanMode> = new Map([
  [1, "private"],
  [2, "vepa"],
  [4, "bridge"],
  [8, "passthrough"],
  [16, "source"],
]);

/** One network device, as the kernel reports it. */
export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** Administrative state (`IFF_UP`). */
  readonly state: "up" | "down";
  readonly operState: OperState;
  /** `on` for a tap that a process holds open (`IFLA_CARRIER`). */
  readonly carrier?: Switch;
  readonly macAddress?: MacAddress;
  readonly mtu: number;
  readonly txQueueLength: number;
  /** Present where its frames are no Ethernet frames (`ARPHRD_*`): the loopback, tunnels of layer 3. */
  readonly frames?: "notEthernet";
  /** The bridge, bond or VRF that the device is a port of. */
  readonly masterIfindex?: number;
  /** Which of these it is, by the driver's name (`IFLA_INFO_SLAVE_KIND`); missing where that says nothing. */
  readonly masterKind?: string;
  /** The device that this one is stacked on or paired with, where that is in the same network namespace (`IFLA_LINK`). */
  readonly parentIfindex?: number;
  /** The kernel's driver name: `bridge`, `tun`, `macvtap`, `veth`; missing for physical devices. */
  readonly kind?: string;
  /** Free text that an administrator, or Switchover, put on the device. */
  readonly alias?: string;
  /** Missing where the device has no IPv6. */
  readonly addrGenMode?: AddrGenMode;
  /** Present where the device has IPv6 and may not use it (`disable_ipv6`). */
  readonly ipv6?: "disabled";
  /** Present on a bridge's port. */
  readonly port?: BridgePortFlags;
  /** Present on a bridge's port: whether the spanning tree lets frames pass (`BR_STATE_FORWARDING`). */
  readonly portState?: "forwarding" | "blocked";
  /** Present on a bridge. */
  readonly vlanFiltering?: Switch;
  /** Present on a bridge. */
  readonly multicastSnooping?: Switch;
  /** Present on a device of kind `vxlan`. */
  readonly vxlan?: VxlanParameters;
  /** Present on a bridge's port where its VLANs were asked for, or told by the bridge. */
  readonly portVlans?: readonly number[];
  /** Present on a device of kind `tun`. */
  readonly tunMode?: "tun" | "tap";
  /** Present on a device of kind `macvtap` or `macvlan`. */
  readonly macvlanMode?: MacvlanMode;
  /** Further names (`ip link property`). */
  readonly altNames?: readonly string[];
}

export interface VxlanParameters {
  readonly vni: number;
  /** The VTEP's own address, where the device is bound to one. */
  readonly localAddress?: IpAddress;
  /** Whether the VNI is the device's own, or comes with each entry and packet (`external`). */
  readonly vniFrom: "device" | "entry";
}

/** What to change; what is missing stays as it is. `masterIfindex` 0 takes the device off its bridge. */
export interface LinkChange {
  readonly state?: "up" | "down";
  readonly masterIfindex?: number;
  readonly macAddress?: MacAddress;
  readonly mtu?: number;
  readonly txQueueLength?: number;
  readonly alias?: string;
  readonly addrGenMode?: "none" | "eui64";
}

/**
 * Changes a device. The kernel applies the state before the address mode: for a device that must come up
 * silent, send `addrGenMode` in a request of its own before the one with `state: "up"`.
 */
export function encodeSetLink(ifindex: number, change: LinkChange): Uint8Array {
  const body = linkBody(ifindex, change.state);
  return encodeMessage(RTM_NEWLINK, NLM_F_ACK, body, (attributes) => {
    if (change.macAddress !== undefined) attributes.bytes(IFLA.ADDRESS, macAddressBytes(change.macAddress));
    if (change.mtu !== undefined) attributes.u32(IFLA.MTU, change.mtu);
    if (change.txQueueLength !== undefined) attributes.u32(IFLA.TXQLEN, change.txQueueLength);
    if (change.masterIfindex !== undefined) attributes.u32(IFLA.MASTER, change.masterIfindex);
    // The kernel takes a final zero for a part of the text.
    if (change.alias !== undefined) attributes.bytes(IFLA.IFALIAS, Buffer.from(change.alias));
    if (change.addrGenMode !== undefined) {
      const mode = change.addrGenMode === "none" ? IN6_ADDR_GEN_MODE_NONE : IN6_ADDR_GEN_MODE_EUI64;
      attributes.nested(IFLA.AF_SPEC, (families) =>
        families.nested(AF_INET6, (inet6) => inet6.u8(IFLA_INET6_ADDR_GEN_MODE, mode)),
      );
    }
  });
}

/** Sets the flags of a bridge's port (`IFLA_INFO_SLAVE_DATA`). The kernel acks and ignores it on a non-port. */
export function encodeSetBridgePort(ifindex: number, flags: BridgePortFlags): Uint8Array {
  return encodeMessage(RTM_NEWLINK, NLM_F_ACK, linkBody(ifindex, undefined), (attributes) =>
    attributes.nested(IFLA.LINKINFO, (info) => {
      info.bytes(INFO.SLAVE_KIND, Buffer.from("bridge"));
      info.nested(INFO.SLAVE_DATA, (port) => {
        port.u8(BRPORT.LEARNING, flags.learning === "on" ? 1 : 0);
        port.u8(BRPORT.UNICAST_FLOOD, flags.unicastFlood === "on" ? 1 : 0);
        port.u8(BRPORT.MCAST_FLOOD, flags.multicastFlood === "on" ? 1 : 0);
        port.u8(BRPORT.BCAST_FLOOD, flags.broadcastFlood === "on" ? 1 : 0);
      });
    }),
  );
}

/** Creates a device of a driver that needs no parameters; EEXIST where the name is taken. */
export function encodeCreateLink(name: string, kind: string): Uint8Array {
  return encodeMessage(
    RTM_NEWLINK,
    NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    linkBody(0, undefined),
    (attributes) => {
      attributes.string(IFLA.IFNAME, name);
      attributes.nested(IFLA.LINKINFO, (info) => info.bytes(INFO.KIND, Buffer.from(kind)));
    },
  );
}

/** Gives a device a further name, or takes it away: EEXIST and ENOENT where that is so already. */
export function encodeSetAltName(
  ifindex: number,
  altName: string,
  presence: "present" | "absent",
): Uint8Array {
  const type = presence === "present" ? RTM_NEWLINKPROP : RTM_DELLINKPROP;
  const flags = presence === "present" ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND : NLM_F_ACK;
  return encodeMessage(type, flags, linkBody(ifindex, undefined), (attributes) =>
    attributes.nested(IFLA.PROP_LIST | NLA_F_NESTED, (names) => names.string(IFLA.ALT_IFNAME, altName)),
  );
}

export function encodeDeleteLink(ifindex: number): Uint8Array {
  return encodeMessage(RTM_DELLINK, NLM_F_ACK, linkBody(ifindex, undefined));
}

export interface LinkFilter {
  readonly masterIfindex?: number;
  readonly kind?: string;
}

export type LinkKey = { readonly ifindex: number } | { readonly name: string };

/** Asks for one device, by name or by index, without its counters; ENODEV where there is none. */
export function encodeGetLink(key: LinkKey): Uint8Array {
  const body = linkBody("ifindex" in key ? key.ifindex : 0, undefined);
  return encodeMessage(RTM_GETLINK, 0, body, (attributes) => {
    attributes.u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    if ("name" in key) attributes.string(IFLA.IFNAME, key.name);
  });
}

/** Asks for all devices of the network namespace, for the ports of one, or for those of a kind, without their counters. */
export function encodeDumpLinks({ masterIfindex, kind }: LinkFilter): Uint8Array {
  return encodeMessage(RTM_GETLINK, NLM_F_DUMP, linkBody(0, undefined), (attributes) => {
    attributes.u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    if (masterIfindex !== undefined) attributes.u32(IFLA.MASTER, masterIfindex);
    if (kind !== undefined)
      attributes.nested(IFLA.LINKINFO, (info) => info.bytes(INFO.KIND, Buffer.from(kind)));
  });
}

/** `struct ifinfomsg`. */
export function linkBody(ifindex: number, state: "up" | "down" | undefined): Uint8Array {
  const body = new Uint8Array(IFINFOMSG_BYTES);
  const view = new DataView(body.buffer);
  view.setInt32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  if (state !== undefined) {
    view.setUint32(8, state === "up" ? IFF_UP : 0, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(12, IFF_UP, HOST_IS_LITTLE_ENDIAN);
  }
  return body;
}
