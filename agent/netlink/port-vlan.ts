/**
 * The VLANs of a bridge's port: RTM_SETLINK and RTM_DELLINK of family PF_BRIDGE, and RTM_GETVLAN.
 */
import { AttributeDecoder, type AttributeEncoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import { IFINFOMSG_BYTES, IFLA } from "./link-attributes.ts";
import { encodeMessage, malformed, NLM_F_ACK, NLM_F_DUMP } from "./message.ts";
import { PF_BRIDGE } from "./neighbour.ts";

const RTM_SETLINK = 19;
const RTM_DELLINK = 17;
export const RTM_NEWVLAN = 112;
const RTM_GETVLAN = 114;

const IFLA_BRIDGE_VLAN_INFO = 2;
/** `struct bridge_vlan_info`: flags, vid. */
const VLAN_INFO_BYTES = 4;
const PVID = 0x02;
const UNTAGGED = 0x04;
const RANGE_BEGIN = 0x08;
const RANGE_END = 0x10;

/** `struct br_vlan_msg`. */
const VLAN_MESSAGE_BYTES = 8;
const BRIDGE_VLANDB_ENTRY = 1;
const BRIDGE_VLANDB_ENTRY_INFO = 1;
const BRIDGE_VLANDB_ENTRY_RANGE = 2;

export const LOWEST_VLAN = 1;
export const HIGHEST_VLAN = 4094;

/** Puts a port into VLANs: several of them tagged, one alone untagged and for the port's untagged frames (PVID). */
export function encodeAddPortVlans(ifindex: number, vlans: readonly number[]): Uint8Array {
  return encodeMessage(RTM_SETLINK, NLM_F_ACK, portBody(ifindex), (attributes) =>
    attributes.nested(IFLA.AF_SPEC, (bridge) => {
      const flags = vlans.length === 1 ? PVID | UNTAGGED : 0;
      for (const vlan of vlans) vlanInfo(bridge, flags, vlan);
    }),
  );
}

/** Takes a port out of all VLANs but these, also out of the one that a bridge puts its new ports into. */
export function encodeKeepPortVlans(ifindex: number, vlans: readonly number[]): Uint8Array {
  return encodeMessage(RTM_DELLINK, NLM_F_ACK, portBody(ifindex), (attributes) =>
    attributes.nested(IFLA.AF_SPEC, (bridge) => {
      for (const [first, last] of gapsBetween(vlans)) {
        if (first === last) vlanInfo(bridge, 0, first);
        else {
          vlanInfo(bridge, RANGE_BEGIN, first);
          vlanInfo(bridge, RANGE_END, last);
        }
      }
    }),
  );
}

/** Asks for the VLANs of one port; EOPNOTSUPP where the kernel's bridges cannot filter. */
export function encodeDumpPortVlans(ifindex: number): Uint8Array {
  const body = new Uint8Array(VLAN_MESSAGE_BYTES);
  body[0] = PF_BRIDGE;
  new DataView(body.buffer).setUint32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  return encodeMessage(RTM_GETVLAN, NLM_F_DUMP, body);
}

/** The VLANs that an RTM_NEWVLAN tells, and their port. */
export function decodePortVlans(payload: Uint8Array): {
  readonly ifindex: number;
  readonly vlans: readonly number[];
} {
  if (payload.length < VLAN_MESSAGE_BYTES) throw malformed("A VLAN message is shorter than its fixed part.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const vlans: number[] = [];
  const entries = new AttributeDecoder(payload, VLAN_MESSAGE_BYTES);
  while (entries.next()) {
    if (entries.type !== BRIDGE_VLANDB_ENTRY) continue;
    entries.nested((entry) => {
      let first = 0;
      let last = 0;
      while (entry.next()) {
        if (entry.type === BRIDGE_VLANDB_ENTRY_INFO) first = readInfo(entry.bytes()).vlan;
        else if (entry.type === BRIDGE_VLANDB_ENTRY_RANGE) last = entry.u16();
      }
      vlans.push(...range(first, last));
    });
  }
  entries.finish();
  return { ifindex: view.getUint32(4, HOST_IS_LITTLE_ENDIAN), vlans };
}

/** The VLANs in a bridge's own message about its port (IFLA_AF_SPEC), where ranges are two entries each. */
export function readPortVlans(bridge: AttributeDecoder): readonly number[] {
  const vlans: number[] = [];
  let first = 0;
  while (bridge.next()) {
    if (bridge.type !== IFLA_BRIDGE_VLAN_INFO) continue;
    const { flags, vlan } = readInfo(bridge.bytes());
    if ((flags & RANGE_BEGIN) !== 0) first = vlan;
    else if ((flags & RANGE_END) !== 0) vlans.push(...range(first, vlan));
    else vlans.push(vlan);
  }
  return vlans;
}

function readInfo(bytes: Uint8Array): { readonly flags: number; readonly vlan: number } {
  if (bytes.length < VLAN_INFO_BYTES) throw malformed("A VLAN entry is shorter than its structure.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    flags: view.getUint16(0, HOST_IS_LITTLE_ENDIAN),
    vlan: view.getUint16(2, HOST_IS_LITTLE_ENDIAN),
  };
}

/** No more than there can be, whatever a damaged message says. */
function range(first: number, last: number): readonly number[] {
  const end = Math.min(Math.max(first, last), HIGHEST_VLAN);
  return Array.from({ length: Math.max(end - first + 1, 0) }, (_, index) => first + index);
}

function gapsBetween(vlans: readonly number[]): readonly (readonly [first: number, last: number])[] {
  const gaps: [number, number][] = [];
  let next = LOWEST_VLAN;
  for (const vlan of [...vlans.toSorted((left, right) => left - right), HIGHEST_VLAN + 1]) {
    if (vlan > next) gaps.push([next, vlan - 1]);
    next = vlan + 1;
  }
  return gaps;
}

function vlanInfo(bridge: AttributeEncoder, flags: number, vlan: number): void {
  const info = new Uint8Array(VLAN_INFO_BYTES);
  const view = new DataView(info.buffer);
  view.setUint16(0, flags, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(2, vlan, HOST_IS_LITTLE_ENDIAN);
  bridge.bytes(IFLA_BRIDGE_VLAN_INFO, info);
}

/** `struct ifinfomsg`. */
function portBody(ifindex: number): Uint8Array {
  const body = new Uint8Array(IFINFOMSG_BYTES);
  body[0] = PF_BRIDGE;
  new DataView(body.buffer).setInt32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  return body;
}
