/**
 * The frames that announce where a guest's addresses are: pure bytes, padded to Ethernet's minimum, without its checksum.
 */
import { type GuestAddress, guestAddressBytes } from "../../proto/guest-address.ts";
import { type MacAddress, macAddressBytes } from "../../proto/mac-address.ts";

const BROADCAST = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
/** ff02::1, all nodes of the link, and its address on Ethernet (RFC 2464, 7). */
const ALL_NODES = Uint8Array.of(0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_RARP = 0x8035;
const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_8021Q = 0x8100;
const ADDRESSES_BYTES = 12;
const MIN_PAYLOAD_BYTES = 46;

const ARP_REQUEST = 1;
const RARP_REQUEST = 3;
const ARP_BYTES = 28;

const IPV6_HEADER_BYTES = 40;
const ICMPV6 = 58;
const NEIGHBOUR_ADVERTISEMENT = 136;
const ADVERTISEMENT_BYTES = 32;
const TARGET_LINK_LAYER_ADDRESS = 2;
/**
 * Router and Override, not Solicited. Router, because nobody here knows whether the guest is one: who hears that a router
 * is none must take it from his default routers (RFC 4861, 7.2.5), while hearing that a host is one makes it nobody's
 * router. The guest's own next advertisement says how it is.
 */
const ADVERTISEMENT_FLAGS = 0xa0;

/** RARP "request reverse" of the station itself, what QEMU announces with: every switch learns, nobody answers. */
export function encodeReverseArp(mac: MacAddress, vlan?: number): Uint8Array {
  return ethernet(mac, BROADCAST, vlan, ETHERTYPE_RARP, arp(RARP_REQUEST, mac, mac));
}

/**
 * ARP announcement (RFC 5227, 2.3): a request whose sender and target are the guest's address. In that form alone: the
 * reply form of RFC 5944, 4.6 tells receivers nothing more, since both update what they have, and switches that guard
 * ARP take unasked replies for an attack.
 */
export function encodeArpAnnouncement(mac: MacAddress, address: GuestAddress, vlan?: number): Uint8Array {
  return ethernet(mac, BROADCAST, vlan, ETHERTYPE_ARP, arp(ARP_REQUEST, mac, undefined, address));
}

/** Unsolicited neighbour advertisement to all nodes (RFC 4861, 7.2.6). */
export function encodeNeighbourAdvertisement(
  mac: MacAddress,
  address: GuestAddress,
  vlan?: number,
): Uint8Array {
  const packet = new Uint8Array(IPV6_HEADER_BYTES + ADVERTISEMENT_BYTES);
  const view = new DataView(packet.buffer);
  const source = guestAddressBytes(address);
  view.setUint8(0, 0x60);
  view.setUint16(4, ADVERTISEMENT_BYTES);
  view.setUint8(6, ICMPV6);
  view.setUint8(7, 255);
  packet.set(source, 8);
  packet.set(ALL_NODES, 24);
  view.setUint8(40, NEIGHBOUR_ADVERTISEMENT);
  view.setUint8(44, ADVERTISEMENT_FLAGS);
  packet.set(source, 48);
  view.setUint8(64, TARGET_LINK_LAYER_ADDRESS);
  view.setUint8(65, 1);
  packet.set(macAddressBytes(mac), 66);
  view.setUint16(42, icmpv6Checksum(packet));
  return ethernet(mac, ALL_NODES_MAC, vlan, ETHERTYPE_IPV6, packet);
}

/** RFC 826 for Ethernet and IPv4; what is missing is zero. */
function arp(operation: number, sender: MacAddress, target?: MacAddress, address?: GuestAddress): Uint8Array {
  const packet = new Uint8Array(ARP_BYTES);
  packet.set([0, 1, 8, 0, 6, 4, 0, operation]);
  packet.set(macAddressBytes(sender), 8);
  if (target !== undefined) packet.set(macAddressBytes(target), 18);
  if (address !== undefined) {
    packet.set(guestAddressBytes(address), 14);
    packet.set(guestAddressBytes(address), 24);
  }
  return packet;
}

function ethernet(
  source: MacAddress,
  destination: Uint8Array,
  vlan: number | undefined,
  etherType: number,
  payload: Uint8Array,
): Uint8Array {
  const tagBytes = vlan === undefined ? 0 : 4;
  const payloadAt = ADDRESSES_BYTES + tagBytes + 2;
  const frame = new Uint8Array(payloadAt + Math.max(MIN_PAYLOAD_BYTES, payload.length));
  const view = new DataView(frame.buffer);
  frame.set(destination, 0);
  frame.set(macAddressBytes(source), 6);
  if (vlan !== undefined) {
    view.setUint16(ADDRESSES_BYTES, ETHERTYPE_8021Q);
    view.setUint16(ADDRESSES_BYTES + 2, vlan);
  }
  view.setUint16(payloadAt - 2, etherType);
  frame.set(payload, payloadAt);
  return frame;
}

/** Over the pseudo-header (RFC 8200, 8.1) and an ICMPv6 message whose own checksum is zero. */
function icmpv6Checksum(packet: Uint8Array): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  let sum = packet.length - IPV6_HEADER_BYTES + ICMPV6;
  for (let at = 8; at < packet.length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
