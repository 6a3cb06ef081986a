/**
 * Entries of a VXLAN device's own table: RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of family PF_BRIDGE, NTF_SELF.
 * They are decoded as the bridge's are (`decodeFdbEntry`), with the address of the VTEP, and are no bridge's.
 */
import { type IpAddress, ipAddressBytes } from "../../proto/ip-address.ts";
import { type MacAddress, macAddressBytes } from "../../proto/mac-address.ts";
import { encodeMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import {
  NDA,
  NTF_SELF,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_REACHABLE,
  neighbourBody,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "./neighbour.ts";

/** An address behind a VTEP. */
export interface VxlanKey {
  readonly ifindex: number;
  readonly macAddress: MacAddress;
  readonly vtepAddress: IpAddress;
  /** For a device that takes its VNIs from its entries (`external`); missing for the device's own. */
  readonly vni?: number;
}

/** Adds the static entry, or points the one that there is to this VTEP: an address has one. */
export function encodeReplaceVxlanEntry(key: VxlanKey): Uint8Array {
  const body = neighbourBody(key.ifindex, NUD_NOARP | NUD_REACHABLE, NTF_SELF);
  return encodeKeyed(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body, key);
}

/**
 * Removes the entry if it points to this VTEP. ENOENT where the address has none; where it points to another VTEP, the
 * kernel removes nothing and acknowledges (6.18): only reading tells.
 */
export function encodeDeleteVxlanEntry(key: VxlanKey): Uint8Array {
  return encodeKeyed(
    RTM_DELNEIGH,
    NLM_F_ACK,
    neighbourBody(key.ifindex, NUD_NOARP | NUD_PERMANENT, NTF_SELF),
    key,
  );
}

/** Asks a VXLAN device behind which VTEP the address is; ENOENT where it has no entry. */
export function encodeGetVxlanEntry(key: Omit<VxlanKey, "vtepAddress">): Uint8Array {
  return encodeMessage(RTM_GETNEIGH, 0, neighbourBody(key.ifindex, 0, NTF_SELF), (attributes) => {
    attributes.bytes(NDA.LLADDR, macAddressBytes(key.macAddress));
    if (key.vni !== undefined) attributes.u32(NDA.VNI, key.vni);
  });
}

function encodeKeyed(type: number, flags: number, body: Uint8Array, key: VxlanKey): Uint8Array {
  return encodeMessage(type, flags, body, (attributes) => {
    attributes.bytes(NDA.LLADDR, macAddressBytes(key.macAddress));
    attributes.bytes(NDA.DST, ipAddressBytes(key.vtepAddress));
    if (key.vni === undefined) return;
    attributes.u32(NDA.VNI, key.vni);
    attributes.u32(NDA.SRC_VNI, key.vni);
  });
}
