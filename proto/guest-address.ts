import { isIPv4, isIPv6 } from "node:net";
import { invalidArgument } from "./error.ts";

/** A unicast IPv4 or IPv6 address of a guest's own, in canonical form: `10.0.0.5`, `2001:db8::5` (RFC 5952). */
export type GuestAddress = string & { readonly __brand: "GuestAddress" };

const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
/** ::ffff:0:0/96 stands for an IPv4 address within a program, and is never on a wire (RFC 4291, 2.5.5.2). */
const IPV4_MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

/**
 * Returns the canonical form. Throws INVALID_ARGUMENT naming `field` for a prefix, a zone, anything that is no address,
 * and for addresses that no guest answers to from outside: unspecified, loopback, multicast, broadcast.
 */
export function parseGuestAddress(text: string, field: string): GuestAddress {
  if (!isIPv4(text) && !(isIPv6(text) && !text.includes("%"))) {
    const sentence = `${JSON.stringify(text.slice(0, 64))} is not an address like 10.0.0.5 or 2001:db8::5.`;
    throw invalidArgument(field, sentence);
  }
  const address = (isIPv4(text) ? text : new URL(`http://[${text}]`).hostname.slice(1, -1)) as GuestAddress;
  const unfit = unfitness(guestAddressBytes(address));
  if (unfit !== undefined) {
    throw invalidArgument(field, `${address} is ${unfit.kind} and cannot be a guest's own.`, unfit.reason);
  }
  return address;
}

/** The 4 or 16 bytes of the address in transmission order. */
export function guestAddressBytes(address: GuestAddress): Uint8Array {
  if (!address.includes(":")) return Uint8Array.from(address.split("."), Number);
  const [head = "", tail = ""] = address.split("::").map((half) => half.split(":").filter(Boolean).join(":"));
  const groups = (half: string): number[] =>
    half === "" ? [] : half.split(":").map((hex) => Number(`0x${hex}`));
  const bytes = new Uint8Array(IPV6_BYTES);
  const view = new DataView(bytes.buffer);
  groups(head).forEach((group, index) => void view.setUint16(2 * index, group));
  groups(tail)
    .toReversed()
    .forEach((group, index) => void view.setUint16(IPV6_BYTES - 2 * (index + 1), group));
  return bytes;
}

interface Unfitness {
  readonly kind: string;
  readonly reason: string;
}

const UNSPECIFIED: Unfitness = { kind: "the unspecified address", reason: "ADDRESS_UNSPECIFIED" };
const LOOPBACK: Unfitness = { kind: "a loopback address", reason: "ADDRESS_LOOPBACK" };
const MULTICAST: Unfitness = { kind: "a multicast address", reason: "ADDRESS_MULTICAST" };
const BROADCAST: Unfitness = { kind: "the broadcast address", reason: "ADDRESS_BROADCAST" };
const MAPPED: Unfitness = { kind: "an IPv4 address in IPv6 form", reason: "ADDRESS_IPV4_MAPPED" };

function unfitness(bytes: Uint8Array): Unfitness | undefined {
  const [first = 0] = bytes;
  if (bytes.every((byte) => byte === 0)) return UNSPECIFIED;
  if (bytes.length === IPV4_BYTES) {
    if (first === 127) return LOOPBACK;
    if (first >= 224 && first < 240) return MULTICAST;
    return bytes.every((byte) => byte === 255) ? BROADCAST : undefined;
  }
  if (first === 0xff) return MULTICAST;
  if (IPV4_MAPPED.every((byte, index) => bytes[index] === byte)) return MAPPED;
  return bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0) ? LOOPBACK : undefined;
}
