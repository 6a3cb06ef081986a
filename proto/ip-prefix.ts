import * as net from "node:net";
import { invalidArgument } from "./error.ts";

/** An IP address and the length of its network part, in canonical form (`192.0.2.7/32`, `2001:db8::7/128`: RFC 5952). */
export type IpPrefix = string & { readonly __brand: "IpPrefix" };

export interface IpPrefixParts {
  readonly family: "ipv4" | "ipv6";
  /** 4 or 16, in transmission order. */
  readonly bytes: Uint8Array;
  /** Bits of the network part. */
  readonly length: number;
}

const PREFIX_TEXT = /^([0-9A-Fa-f:.]{2,45})\/(0|[1-9][0-9]{0,2})$/;
const IPV4_BYTES = 4;
const HEXTETS = 8;

/** Returns the canonical form; throws INVALID_ARGUMENT naming `field` for what is no address with a prefix length. */
export function parseIpPrefix(text: string, field: string): IpPrefix {
  const [, address = "", lengthText = ""] = PREFIX_TEXT.exec(text) ?? [];
  const bytes = addressBytes(address);
  const length = Number(lengthText);
  if (bytes === undefined || length > bytes.length * 8) {
    const shown = JSON.stringify(text.slice(0, 64));
    throw invalidArgument(field, `${shown} is not an IP prefix like 192.0.2.7/32 or 2001:db8::7/128.`);
  }
  return ipPrefixFromBytes(bytes, length);
}

export function ipPrefixParts(prefix: IpPrefix): IpPrefixParts {
  const slash = prefix.lastIndexOf("/");
  const address = prefix.slice(0, slash);
  const length = Number(prefix.slice(slash + 1));
  // The text is canonical: nothing of it is to be checked again.
  return address.includes(":")
    ? { family: "ipv6", bytes: ipv6Bytes(address), length }
    : { family: "ipv4", bytes: ipv4Bytes(address), length };
}

/** Of 4 or 16 bytes; no check of the length, for what a kernel reports. */
export function ipPrefixFromBytes(bytes: Uint8Array, length: number): IpPrefix {
  const address = bytes.length === IPV4_BYTES ? bytes.join(".") : ipv6Text(bytes);
  return `${address}/${length}` as IpPrefix;
}

/** Whether every address of `inner` is one of `outer`. */
export function containsPrefix(outer: IpPrefix, inner: IpPrefix): boolean {
  return containsParts(ipPrefixParts(outer), ipPrefixParts(inner));
}

/** As `containsPrefix`, for one that is compared with many. */
export function containsParts(outer: IpPrefixParts, inner: IpPrefixParts): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false;
  return inner.bytes.every(
    (byte, index) => ((byte ^ (outer.bytes[index] ?? 0)) & networkMask(index, outer.length)) === 0,
  );
}

/** Whether all bits after the network part are zero, as in a route. */
export function isNetwork(prefix: IpPrefix): boolean {
  const { bytes, length } = ipPrefixParts(prefix);
  return bytes.every((byte, index) => (byte & ~networkMask(index, length)) === 0);
}

/** One address of a network: neither its first (anycast in IPv6) nor its last (broadcast in IPv4), where it has others. */
export function middleOf(network: IpPrefix): IpPrefix {
  const { bytes, length } = ipPrefixParts(network);
  const middle = Uint8Array.from(bytes);
  const at = Math.floor(length / 8);
  if (at < middle.length) middle[at] = (middle[at] ?? 0) | (0x80 >> (length % 8));
  return ipPrefixFromBytes(middle, middle.length * 8);
}

/** The bits of the byte at `index` that belong to a network part of `length` bits. */
function networkMask(index: number, length: number): number {
  const bits = Math.min(Math.max(length - index * 8, 0), 8);
  return (0xff00 >> bits) & 0xff;
}

function addressBytes(address: string): Uint8Array | undefined {
  if (net.isIPv4(address)) return ipv4Bytes(address);
  return net.isIPv6(address) ? ipv6Bytes(address) : undefined;
}

function ipv4Bytes(address: string): Uint8Array {
  const bytes = new Uint8Array(IPV4_BYTES);
  address.split(".").forEach((part, index) => {
    bytes[index] = Number(part);
  });
  return bytes;
}

function ipv6Bytes(address: string): Uint8Array {
  const [head = "", tail] = address.split("::");
  const [first, last] = [hextetsOf(head), hextetsOf(tail ?? "")];
  const zeros = tail === undefined ? 0 : HEXTETS - first.length - last.length;
  const hextets = [...first, ...new Array<number>(zeros).fill(0), ...last];
  return Uint8Array.from(hextets.flatMap((hextet) => [hextet >> 8, hextet & 0xff]));
}

/** Of a part without `::`, whose end may be an IPv4 address. */
function hextetsOf(part: string): number[] {
  if (part === "") return [];
  return part.split(":").flatMap((piece) => {
    if (!piece.includes(".")) return [Number.parseInt(piece, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = piece.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

function ipv6Text(bytes: Uint8Array): string {
  const hextets = Array.from({ length: HEXTETS }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  const { start, count } = longestZeroRun(hextets);
  if (count < 2) return hextets.join(":");
  return `${hextets.slice(0, start).join(":")}::${hextets.slice(start + count).join(":")}`;
}

function longestZeroRun(hextets: readonly string[]): { readonly start: number; readonly count: number } {
  let longest = { start: 0, count: 0 };
  let start = 0;
  hextets.forEach((hextet, index) => {
    if (hextet !== "0") start = index + 1;
    else if (index + 1 - start > longest.count) longest = { start, count: index + 1 - start };
  });
  return longest;
}
