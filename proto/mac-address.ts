import { invalidArgument } from "./error.ts";

/** A unicast, non-zero Ethernet address in lower-case colon form (`52:54:00:12:34:56`). */
export type MacAddress = string & { readonly __brand: "MacAddress" };

const OCTETS = 6;
const OCTET_TEXTS = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));
const MAC_TEXT = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/**
 * Returns the canonical form of a guest's address; accepts upper case.
 * Throws INVALID_ARGUMENT naming `field` for other shapes, the all-zero address and group addresses:
 * none of them can be a station's own (IEEE 802-2014, 8.2).
 */
export function parseMacAddress(text: string, field: string): MacAddress {
  const mac = text.toLowerCase();
  if (!MAC_TEXT.test(mac)) {
    throw invalidArgument(field, `"${text.slice(0, 64)}" is not a MAC address like 52:54:00:12:34:56.`);
  }
  if (mac === "00:00:00:00:00:00") {
    throw invalidArgument(field, "The all-zero MAC address cannot belong to a guest.", "MAC_ZERO");
  }
  if ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) {
    throw invalidArgument(
      field,
      `${mac} is a multicast address and cannot belong to a guest.`,
      "MAC_MULTICAST",
    );
  }
  return mac as MacAddress;
}

/** The six bytes of the address in transmission order. */
export function macAddressBytes(mac: MacAddress): Uint8Array {
  const bytes = new Uint8Array(OCTETS);
  for (let index = 0; index < OCTETS; index += 1) {
    bytes[index] = Number.parseInt(mac.slice(3 * index, 3 * index + 2), 16);
  }
  return bytes;
}

/** The address whose six bytes start at `offset`; no check that it is unicast, for what a kernel reports. */
export function macAddressFromBytes(bytes: Uint8Array, offset = 0): MacAddress {
  let text = "";
  for (let index = offset; index < Math.min(offset + OCTETS, bytes.length); index += 1) {
    if (index > offset) text += ":";
    text += OCTET_TEXTS[bytes[index] ?? 0];
  }
  return text as MacAddress;
}
