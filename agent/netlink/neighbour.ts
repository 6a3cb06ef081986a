/**
 * Bridge forwarding entries: RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of family PF_BRIDGE.
 */
import { type IpAddress, ipAddressFromBytes } from "../../proto/ip-address.ts";
import { type MacAddress, macAddressBytes, macAddressFromBytes } from "../../proto/mac-address.ts";
import { AttributeDecoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import {
  encodeMessage,
  malformed,
  NLM_F_ACK,
  NLM_F_BULK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
} from "./message.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const PF_BRIDGE = 7;
const NDMSG_BYTES = 12;

export const NUD_REACHABLE = 0x02;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;

export const NTF_SELF = 0x02;
const NTF_MASTER = 0x04;
const NTF_STICKY = 0x40;

export const NDA = {
  DST: 1,
  LLADDR: 2,
  VLAN: 5,
  VNI: 7,
  MASTER: 9,
  SRC_VNI: 11,
  NDM_STATE_MASK: 16,
} as const;

/** Whether a frame from elsewhere can move the entry to another port (`NTF_STICKY`). */
export type Stickiness = "sticky" | "plain";

/** `static` is NUD_NOARP; `permanent` is NUD_PERMANENT, delivered to the host itself; all else was learned. */
export type FdbState = "static" | "permanent" | "dynamic";

/** One entry of a forwarding table, as the kernel reports it. */
export interface FdbEntry {
  /** The port that frames for the address leave by. */
  readonly ifindex: number;
  readonly macAddress: MacAddress;
  readonly vlan?: number;
  readonly state: FdbState;
  readonly sticky: Stickiness;
  /** The bridge whose table holds the entry; missing for a device's own filter list. */
  readonly masterIfindex?: number;
  /** In the own table of a VXLAN device: the VTEP behind which the address is. */
  readonly vtepAddress?: IpAddress;
  /** In that table, where the entry names another VNI than the device's own. */
  readonly vni?: number;
}

/** Names an address on one port. */
export interface FdbKey {
  readonly ifindex: number;
  readonly macAddress: MacAddress;
  readonly vlan?: number;
}

/** Adds the static entry, or takes it over from whichever port has it, learned or not. Never NLM_F_EXCL: trap 1. */
export function encodeReplaceFdbEntry(key: FdbKey, sticky: Stickiness): Uint8Array {
  const flags = NTF_MASTER | (sticky === "sticky" ? NTF_STICKY : 0);
  const body = neighbourBody(key.ifindex, NUD_NOARP | NUD_REACHABLE, flags);
  return encodeKeyed(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body, key);
}

/** Removes the entry if it is on this very port; ENOENT where it is not. */
export function encodeDeleteFdbEntry(key: FdbKey): Uint8Array {
  const body = neighbourBody(key.ifindex, NUD_NOARP | NUD_PERMANENT, NTF_MASTER);
  return encodeKeyed(RTM_DELNEIGH, NLM_F_ACK, body, key);
}

/** Removes all static entries of a port in one VLAN, whether or not the port is in it; EINVAL before kernel 5.19. */
export function encodeFlushStaticEntries(ifindex: number, vlan: number): Uint8Array {
  const body = neighbourBody(ifindex, NUD_NOARP, NTF_MASTER);
  return encodeMessage(RTM_DELNEIGH, NLM_F_ACK | NLM_F_BULK, body, (attributes) => {
    attributes.u16(NDA.VLAN, vlan);
    attributes.u16(NDA.NDM_STATE_MASK, NUD_NOARP | NUD_PERMANENT);
  });
}

/** Asks a bridge which of its ports has the address; ENOENT where none has. */
export function encodeGetFdbEntry(
  bridgeIfindex: number,
  macAddress: MacAddress,
  vlan: number | undefined,
): Uint8Array {
  return encodeMessage(RTM_GETNEIGH, 0, neighbourBody(0, 0, 0), (attributes) => {
    attributes.bytes(NDA.LLADDR, macAddressBytes(macAddress));
    if (vlan !== undefined) attributes.u16(NDA.VLAN, vlan);
    attributes.u32(NDA.MASTER, bridgeIfindex);
  });
}

/** Asks for the forwarding table of one bridge (needs NETLINK_GET_STRICT_CHK for the kernel to filter). */
export function encodeDumpFdb(bridgeIfindex: number): Uint8Array {
  return encodeMessage(RTM_GETNEIGH, NLM_F_DUMP, neighbourBody(0, 0, 0), (attributes) =>
    attributes.u32(NDA.MASTER, bridgeIfindex),
  );
}

/** Reads the payload of an RTM_NEWNEIGH or RTM_DELNEIGH of family PF_BRIDGE. */
export function decodeFdbEntry(payload: Uint8Array): FdbEntry {
  if (payload.length < NDMSG_BYTES) throw malformed("A neighbour message is shorter than its fixed part.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (view.getUint8(0) !== PF_BRIDGE) {
    throw malformed(`A neighbour of family ${view.getUint8(0)} came where a bridge's was asked for.`);
  }
  const state = view.getUint16(8, HOST_IS_LITTLE_ENDIAN);
  let macAddress: MacAddress | undefined;
  let vlan: number | undefined;
  let masterIfindex: number | undefined;
  let vtepAddress: IpAddress | undefined;
  let vni: number | undefined;
  const attributes = new AttributeDecoder(payload, NDMSG_BYTES);
  while (attributes.next()) {
    switch (attributes.type) {
      case NDA.LLADDR:
        if (attributes.bytes().length === 6) macAddress = macAddressFromBytes(attributes.bytes());
        break;
      case NDA.VLAN:
        vlan = attributes.u16();
        break;
      case NDA.MASTER:
        masterIfindex = attributes.u32();
        break;
      case NDA.DST:
        if ([4, 16].includes(attributes.bytes().length)) vtepAddress = ipAddressFromBytes(attributes.bytes());
        break;
      case NDA.VNI:
        vni = attributes.u32();
        break;
    }
  }
  attributes.finish();
  if (macAddress === undefined) throw malformed("A forwarding entry has no Ethernet address.");
  return {
    ifindex: view.getInt32(4, HOST_IS_LITTLE_ENDIAN),
    macAddress,
    ...(vlan === undefined ? {} : { vlan }),
    state: (state & NUD_PERMANENT) !== 0 ? "permanent" : (state & NUD_NOARP) !== 0 ? "static" : "dynamic",
    sticky: (view.getUint8(10) & NTF_STICKY) !== 0 ? "sticky" : "plain",
    ...(masterIfindex === undefined ? {} : { masterIfindex }),
    ...(vtepAddress === undefined ? {} : { vtepAddress }),
    ...(vni === undefined ? {} : { vni }),
  };
}

function encodeKeyed(type: number, flags: number, body: Uint8Array, key: FdbKey): Uint8Array {
  return encodeMessage(type, flags, body, (attributes) => {
    attributes.bytes(NDA.LLADDR, macAddressBytes(key.macAddress));
    if (key.vlan !== undefined) attributes.u16(NDA.VLAN, key.vlan);
  });
}

/** `struct ndmsg`. */
export function neighbourBody(ifindex: number, state: number, flags: number): Uint8Array {
  const body = new Uint8Array(NDMSG_BYTES);
  const view = new DataView(body.buffer);
  view.setUint8(0, PF_BRIDGE);
  view.setInt32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(8, state, HOST_IS_LITTLE_ENDIAN);
  view.setUint8(10, flags);
  return body;
}
