import { isIP, isIPv4 } from "node:net";
import { invalidArgument } from "../../../proto/error.ts";
import { ipAddressBytes, parseIpAddress } from "../../../proto/ip-address.ts";
import type { MulticastGroup } from "../../netlink/multicast.ts";

const MAC_TEXT = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
/** IEEE 802.1D: what is sent there ends at the bridge, whatever its tables say. */
const BRIDGE_RESERVED = /^01:80:c2:00:00:0[0-9a-f]$/;
/** IPv4 and IPv6 groups as MAC addresses: a bridge looks an IP packet up by its IP group alone. */
const IP_MAPPED = /^(01:00:5e:[0-7][0-9a-f]|33:33):/;

/**
 * Returns the canonical form of a group that a bridge can deliver to one port.
 *
 * Throws INVALID_ARGUMENT naming `field` for what is no group, and for the groups that no bridge keeps to their members:
 * it floods 224.0.0.0/24 and ff02::1 everywhere (RFC 4541), and what is sent to ff00::/16 and ff01::/16 leaves no host.
 */
export function parseMulticastGroup(text: string, field: string): MulticastGroup {
  return isIP(text) === 0 ? parseMacGroup(text.toLowerCase(), field) : parseIpGroup(text, field);
}

function parseIpGroup(text: string, field: string): MulticastGroup {
  const address = parseIpAddress(text, field);
  const [first = 0, second = 0, third = 0] = ipAddressBytes(address);
  const isGroup = isIPv4(text) ? first >= 224 && first < 240 : first === 0xff;
  if (!isGroup) throw notAGroup(text, field);
  const isReserved = isIPv4(text)
    ? first === 224 && second === 0 && third === 0
    : address === "ff02::1" || (second & 0x0f) < 2;
  if (isReserved) throw reserved(address, field);
  return address as string as MulticastGroup;
}

function parseMacGroup(mac: string, field: string): MulticastGroup {
  if (!MAC_TEXT.test(mac)) {
    const sentence = `${JSON.stringify(mac.slice(0, 64))} is neither an IP address nor a MAC address.`;
    throw invalidArgument(field, sentence);
  }
  if ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 0) throw notAGroup(mac, field);
  if (IP_MAPPED.test(mac)) {
    const sentence = `${mac} carries IP groups, which a bridge delivers by their IP addresses: name those.`;
    throw invalidArgument(field, sentence, "UNSUPPORTED");
  }
  if (mac === "ff:ff:ff:ff:ff:ff" || BRIDGE_RESERVED.test(mac)) throw reserved(mac, field);
  return mac as MulticastGroup;
}

function notAGroup(text: string, field: string): Error {
  return invalidArgument(field, `${text} is not a multicast address.`, "NOT_MULTICAST");
}

function reserved(text: string, field: string): Error {
  return invalidArgument(field, `${text} is a group that no bridge keeps to its members.`, "GROUP_RESERVED");
}
