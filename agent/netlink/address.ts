/**
 * The host's own IP addresses: RTM_NEWADDR, RTM_DELADDR and RTM_GETADDR.
 */
import { type IpPrefix, ipPrefixFromBytes, ipPrefixParts } from "../../proto/ip-prefix.ts";
import { AttributeDecoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import { AF_INET, ipBytesOf } from "./ip-family.ts";
import { AF_INET6 } from "./link-attributes.ts";
import { encodeMessage, malformed, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE } from "./message.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const AF_UNSPEC = 0;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
/** No duplicate address detection: usable at once, and no frame is sent for it. */
const IFA_F_NODAD = 0x02;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;

/** One address of a device, as the kernel reports it. */
export interface DeviceAddress {
  readonly ifindex: number;
  readonly address: IpPrefix;
}

/** Names an address on one device. */
export interface DeviceAddressKey {
  readonly ifindex: number;
  readonly address: IpPrefix;
}

/** Adds the address, or leaves the one that is there; ENODEV where the device is gone. */
export function encodeReplaceAddress({ ifindex, address }: DeviceAddressKey): Uint8Array {
  const { family, bytes } = ipPrefixParts(address);
  // As a source to the rest of the world the kernel must not choose it, which it does with any that is not of the link.
  const isLinkLocal = family === "ipv4" && bytes[0] === 169 && bytes[1] === 254;
  const scope = isLinkLocal ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const flags = family === "ipv6" ? IFA_F_NODAD : 0;
  return encodeKeyed(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, { ifindex, address }, flags, scope);
}

/** Removes the address from this very device; EADDRNOTAVAIL where it is not there, ENODEV where the device is gone. */
export function encodeDeleteAddress(key: DeviceAddressKey): Uint8Array {
  return encodeKeyed(RTM_DELADDR, 0, key, 0, RT_SCOPE_UNIVERSE);
}

/** Asks for the addresses of one device (needs NETLINK_GET_STRICT_CHK); the kernel has no request for a single one. */
export function encodeDumpAddresses(ifindex: number): Uint8Array {
  return encodeMessage(RTM_GETADDR, NLM_F_DUMP, addressBody(AF_UNSPEC, 0, 0, 0, ifindex));
}

/** Reads the payload of an RTM_NEWADDR or RTM_DELADDR; undefined for a family other than IPv4 and IPv6. */
export function decodeAddress(payload: Uint8Array): DeviceAddress | undefined {
  if (payload.length < IFADDRMSG_BYTES) throw malformed("An address message is shorter than its fixed part.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const family = view.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  let local: Uint8Array | undefined;
  let address: Uint8Array | undefined;
  const attributes = new AttributeDecoder(payload, IFADDRMSG_BYTES);
  while (attributes.next()) {
    // IPv6 has the local one only beside a peer's.
    if (attributes.type === IFA_LOCAL) local = ipBytesOf(attributes, family);
    else if (attributes.type === IFA_ADDRESS) address = ipBytesOf(attributes, family);
  }
  attributes.finish();
  const bytes = local ?? address;
  if (bytes === undefined) throw malformed("An address message has no address.");
  return {
    ifindex: view.getUint32(4, HOST_IS_LITTLE_ENDIAN),
    address: ipPrefixFromBytes(bytes, view.getUint8(1)),
  };
}

function encodeKeyed(
  type: number,
  messageFlags: number,
  { ifindex, address }: DeviceAddressKey,
  flags: number,
  scope: number,
): Uint8Array {
  const { family, bytes, length } = ipPrefixParts(address);
  const number = family === "ipv4" ? AF_INET : AF_INET6;
  const body = addressBody(number, length, flags, scope, ifindex);
  return encodeMessage(type, NLM_F_ACK | messageFlags, body, (attributes) => {
    attributes.bytes(IFA_LOCAL, bytes);
    attributes.bytes(IFA_ADDRESS, bytes);
  });
}

/** `struct ifaddrmsg`. */
function addressBody(
  family: number,
  length: number,
  flags: number,
  scope: number,
  ifindex: number,
): Uint8Array {
  const body = new Uint8Array(IFADDRMSG_BYTES);
  const view = new DataView(body.buffer);
  body.set([family, length, flags, scope]);
  view.setUint32(4, ifindex, HOST_IS_LITTLE_ENDIAN);
  return body;
}
