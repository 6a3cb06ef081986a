import { isIPv4, isIPv6 } from "node:net";
import { invalidArgument } from "./error.ts";

/** An IPv4 or IPv6 address in its canonical form (`10.0.0.1`; `fd00::1`, RFC 5952), without a zone. */
export type IpAddress = string & { readonly __brand: "IpAddress" };

/** Returns the canonical form, or throws INVALID_ARGUMENT naming `field`. */
export function parseIpAddress(text: string, field: string): IpAddress {
  if (isIPv4(text) || (isIPv6(text) && !text.includes("%"))) return ipAddressFromBytes(bytesOf(text));
  throw invalidArgument(field, `${JSON.stringify(text.slice(0, 64))} is not an IP address.`);
}

/** The address in network order: 4 bytes or 16. */
export function ipAddressBytes(address: IpAddress): Uint8Array {
  return bytesOf(address);
}

/** The address that 4 or 16 bytes in network order are. */
export function ipAddressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return bytes.join(".") as IpAddress;
  const words = Array.from({ length: 8 }, (_, index) => {
    const [high = 0, low = 0] = bytes.subarray(2 * index);
    return (high << 8) | low;
  });
  const { start, length } = longestZeroRun(words);
  const hex = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(":");
  const text = length < 2 ? hex(words) : `${hex(words.slice(0, start))}::${hex(words.slice(start + length))}`;
  return text as IpAddress;
}

function bytesOf(text: string): Uint8Array {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  const [head = "", tail] = text.split("::");
  const before = wordsOf(head);
  const after = tail === undefined ? [] : wordsOf(tail);
  const gap = new Array<number>(Math.max(8 - before.length - after.length, 0)).fill(0);
  return Uint8Array.from([...before, ...gap, ...after].flatMap((word) => [word >> 8, word & 0xff]));
}

/** The words between colons; the last may be an IPv4 address. */
function wordsOf(text: string): readonly number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part) => {
    if (!part.includes(".")) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

function longestZeroRun(words: readonly number[]): { readonly start: number; readonly length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  words.forEach((word, index) => {
    if (word !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  });
  return best;
}
