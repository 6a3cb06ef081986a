import { ipAddressFromBytes } from "../../proto/ip-address.ts";
import { type MacAddress, macAddressFromBytes } from "../../proto/mac-address.ts";
import { AttributeDecoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import {
  type AddrGenMode,
  type BridgePortFlags,
  type Link,
  MACVLAN_MODES,
  type MacvlanMode,
  type OperState,
  type Switch,
  type VxlanParameters,
} from "./link.ts";
import {
  AF_INET6,
  ARPHRD_ETHER,
  BR_STATE_FORWARDING,
  BRPORT,
  DEVCONF_DISABLE_IPV6,
  IFF_TAP,
  IFF_UP,
  IFINFOMSG_BYTES,
  IFLA,
  IFLA_BR_MCAST_SNOOPING,
  IFLA_BR_VLAN_FILTERING,
  IFLA_INET6_ADDR_GEN_MODE,
  IFLA_INET6_CONF,
  IFLA_MACVLAN_MODE,
  IFLA_TUN_TYPE,
  INFO,
  VXLAN,
} from "./link-attributes.ts";
import { malformed } from "./message.ts";
import { PF_BRIDGE } from "./neighbour.ts";
import { readPortVlans } from "./port-vlan.ts";

/** By number, RFC 2863 and linux/if.h (`IF_OPER_*`). */
const OPER_STATES: readonly OperState[] = [
  "unknown",
  "notPresent",
  "down",
  "lowerLayerDown",
  "testing",
  "dormant",
  "up",
];

/** By number, linux/if_link.h (`IN6_ADDR_GEN_MODE_*`). */
const ADDR_GEN_MODES: readonly AddrGenMode[] = ["eui64", "none", "stableSecret", "random"];

interface LinkDraft {
  name?: string;
  operState?: OperState;
  carrier?: Switch;
  macAddress?: MacAddress;
  mtu?: number;
  txQueueLength?: number;
  masterIfindex?: number;
  masterKind?: string;
  parentIfindex?: number;
  parentNamespace?: "another";
  kind?: string;
  alias?: string;
  addrGenMode?: AddrGenMode;
  ipv6?: "disabled";
  port?: BridgePortFlags;
  portState?: "forwarding" | "blocked";
  vlanFiltering?: Switch;
  multicastSnooping?: Switch;
  vxlan?: VxlanParameters;
  portVlans?: readonly number[];
  tunMode?: "tun" | "tap";
  macvlanMode?: MacvlanMode;
  altNames?: string[];
}

/**
 * Reads the payload of an RTM_NEWLINK or RTM_DELLINK. What this agent has no use for is skipped. A bridge's own message
 * about its port (family PF_BRIDGE) tells neither kind nor alias.
 */
export function decodeLink(payload: Uint8Array): Link {
  if (payload.length < IFINFOMSG_BYTES) throw malformed("A link message is shorter than its fixed part.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const draft: LinkDraft = {};
  const attributes = new AttributeDecoder(payload, IFINFOMSG_BYTES);
  const family = view.getUint8(0);
  while (attributes.next()) readAttribute(attributes, family, draft);
  attributes.finish();
  const { name, parentIfindex, parentNamespace, ...rest } = draft;
  if (name === undefined) throw malformed("A link has no name.");
  return {
    ifindex: view.getInt32(4, HOST_IS_LITTLE_ENDIAN),
    name,
    state: (view.getUint32(8, HOST_IS_LITTLE_ENDIAN) & IFF_UP) !== 0 ? "up" : "down",
    ...(view.getUint16(2, HOST_IS_LITTLE_ENDIAN) === ARPHRD_ETHER ? {} : { frames: "notEthernet" }),
    ...rest,
    ...(parentIfindex === undefined || parentNamespace === "another" ? {} : { parentIfindex }),
    operState: draft.operState ?? "unknown",
    mtu: draft.mtu ?? 0,
    txQueueLength: draft.txQueueLength ?? 0,
  };
}

function readAttribute(attributes: AttributeDecoder, family: number, draft: LinkDraft): void {
  switch (attributes.type) {
    case IFLA.IFNAME:
      draft.name = attributes.string();
      break;
    case IFLA.ADDRESS:
      if (attributes.bytes().length === 6) draft.macAddress = macAddressFromBytes(attributes.bytes());
      break;
    case IFLA.MTU:
      draft.mtu = attributes.u32();
      break;
    case IFLA.TXQLEN:
      draft.txQueueLength = attributes.u32();
      break;
    case IFLA.MASTER:
      draft.masterIfindex = attributes.u32();
      break;
    case IFLA.LINK:
      draft.parentIfindex = attributes.u32();
      break;
    case IFLA.LINK_NETNSID:
      draft.parentNamespace = "another";
      break;
    case IFLA.PROP_LIST:
      attributes.nested((names) => {
        while (names.next()) {
          if (names.type === IFLA.ALT_IFNAME) draft.altNames = [...(draft.altNames ?? []), names.string()];
        }
      });
      break;
    case IFLA.OPERSTATE:
      draft.operState = OPER_STATES[attributes.u8()] ?? "unknown";
      break;
    case IFLA.CARRIER:
      draft.carrier = switchOf(attributes.u8());
      break;
    case IFLA.IFALIAS:
      draft.alias = attributes.string();
      break;
    case IFLA.PROTINFO:
      attributes.nested((data) => {
        if (family === PF_BRIDGE) readBridgePort(data, draft);
      });
      break;
    case IFLA.LINKINFO:
      attributes.nested((info) => readLinkInfo(info, draft));
      break;
    case IFLA.AF_SPEC:
      attributes.nested((families) => {
        if (family === PF_BRIDGE) draft.portVlans = readPortVlans(families);
        while (families.next()) {
          if (families.type === AF_INET6) families.nested((inet6) => readInet6(inet6, draft));
        }
      });
      break;
  }
}

function readInet6(inet6: AttributeDecoder, draft: LinkDraft): void {
  while (inet6.next()) {
    if (inet6.type === IFLA_INET6_CONF && isIpv6Disabled(inet6.bytes())) draft.ipv6 = "disabled";
    if (inet6.type !== IFLA_INET6_ADDR_GEN_MODE) continue;
    const mode = ADDR_GEN_MODES[inet6.u8()];
    if (mode !== undefined) draft.addrGenMode = mode;
  }
}

function isIpv6Disabled(settings: Uint8Array): boolean {
  const offset = DEVCONF_DISABLE_IPV6 * Int32Array.BYTES_PER_ELEMENT;
  if (settings.length < offset + Int32Array.BYTES_PER_ELEMENT) return false;
  const view = new DataView(settings.buffer, settings.byteOffset, settings.byteLength);
  return view.getInt32(offset, HOST_IS_LITTLE_ENDIAN) !== 0;
}

/** The kernel writes a kind before its data. */
function readLinkInfo(info: AttributeDecoder, draft: LinkDraft): void {
  while (info.next()) {
    if (info.type === INFO.KIND) draft.kind = info.string();
    else if (info.type === INFO.SLAVE_KIND) draft.masterKind = info.string();
    else if (info.type === INFO.DATA) info.nested((data) => readKindData(data, draft));
    else if (info.type === INFO.SLAVE_DATA && draft.masterKind === "bridge") {
      info.nested((data) => readBridgePort(data, draft));
    }
  }
}

function readKindData(data: AttributeDecoder, draft: LinkDraft): void {
  if (draft.kind === "vxlan") draft.vxlan = readVxlan(data);
  while (data.next()) {
    if (draft.kind === "bridge" && data.type === IFLA_BR_VLAN_FILTERING) {
      draft.vlanFiltering = switchOf(data.u8());
    } else if (draft.kind === "bridge" && data.type === IFLA_BR_MCAST_SNOOPING) {
      draft.multicastSnooping = switchOf(data.u8());
    } else if (draft.kind === "tun" && data.type === IFLA_TUN_TYPE) {
      draft.tunMode = data.u8() === IFF_TAP ? "tap" : "tun";
    } else if (isMacvlan(draft.kind) && data.type === IFLA_MACVLAN_MODE) {
      const mode = MACVLAN_MODES.get(data.u32());
      if (mode !== undefined) draft.macvlanMode = mode;
    }
  }
}

function isMacvlan(kind: string | undefined): boolean {
  return kind === "macvtap" || kind === "macvlan";
}

function readVxlan(data: AttributeDecoder): VxlanParameters {
  let parameters: VxlanParameters = { vni: 0, vniFrom: "device" };
  while (data.next()) {
    switch (data.type) {
      case VXLAN.ID:
        parameters = { ...parameters, vni: data.u32() };
        break;
      case VXLAN.LOCAL:
      case VXLAN.LOCAL6: {
        const bytes = data.bytes();
        const isSet = (bytes.length === 4 || bytes.length === 16) && bytes.some((byte) => byte !== 0);
        if (isSet) parameters = { ...parameters, localAddress: ipAddressFromBytes(bytes) };
        break;
      }
      case VXLAN.COLLECT_METADATA:
        if (data.u8() !== 0) parameters = { ...parameters, vniFrom: "entry" };
        break;
    }
  }
  return parameters;
}

function readBridgePort(data: AttributeDecoder, draft: LinkDraft): void {
  const flags: { -readonly [K in keyof BridgePortFlags]: Switch } = {
    learning: "off",
    unicastFlood: "off",
    multicastFlood: "off",
    broadcastFlood: "off",
  };
  while (data.next()) {
    if (data.type === BRPORT.STATE) {
      draft.portState = data.u8() === BR_STATE_FORWARDING ? "forwarding" : "blocked";
    } else if (data.type === BRPORT.LEARNING) flags.learning = switchOf(data.u8());
    else if (data.type === BRPORT.UNICAST_FLOOD) flags.unicastFlood = switchOf(data.u8());
    else if (data.type === BRPORT.MCAST_FLOOD) flags.multicastFlood = switchOf(data.u8());
    else if (data.type === BRPORT.BCAST_FLOOD) flags.broadcastFlood = switchOf(data.u8());
  }
  draft.port = flags;
}

function switchOf(value: number): Switch {
  return value === 0 ? "off" : "on";
}
