/**
 * Routes of the main table to prefixes behind one device: RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE.
 */
import { type IpPrefix, ipPrefixFromBytes, ipPrefixParts, middleOf } from "../../proto/ip-prefix.ts";
import { AttributeDecoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import { AF_INET, ipByteCount, ipBytesOf } from "./ip-family.ts";
import { AF_INET6 } from "./link-attributes.ts";
import { encodeMessage, malformed, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE } from "./message.ts";

export const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const RTMSG_BYTES = 12;
const RT_TABLE_MAIN = 254;
const RT_TABLE_LOCAL = 255;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTPROT_UNSPEC = 0;
const RTPROT_KERNEL = 2;
/** Routing daemons keep such a route, and advertise it; one of RTPROT_BOOT they may purge. */
const RTPROT_STATIC = 4;
const RTN_UNSPEC = 0;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTM_F_FIB_MATCH = 0x2000;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_PRIORITY = 6;
const RTA_TABLE = 15;
/**
 * IPv6 takes 1024 where none is given, and a daemon's route to the guest's present host, of 20 or 32, would win. IPv4
 * takes 0, which nothing beats, and which replaces also those of daemons that give none.
 */
const IPV6_METRIC = 1;

/** Names the route to a prefix by one device. */
export interface RouteKey {
  readonly ifindex: number;
  readonly prefix: IpPrefix;
}

/** What the host does with packets to an address: the entry that it found for it. */
export interface Route {
  /** What the entry is for; of length 0 for the default route. */
  readonly prefix: IpPrefix;
  /** `local` delivers to the host itself; `other` is broadcast, anycast and the like. */
  readonly kind: "unicast" | "local" | "other";
  /** Whether the kernel made it with an address of the device. */
  readonly origin: "kernel" | "other";
  /** The host's own addresses count as `main`; `other` is one that a rule of policy routing has sent it to. */
  readonly table: "main" | "other";
  /** Missing where there are several next hops. */
  readonly ifindex?: number;
}

/** Adds the route, or takes the prefix over from another of the same metric; ENETDOWN while the device is down. */
export function encodeReplaceRoute({ ifindex, prefix }: RouteKey): Uint8Array {
  const { family, bytes } = ipPrefixParts(prefix);
  const scope = family === "ipv4" ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const body = routeBody(prefix, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0);
  return encodeMessage(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body, (attributes) => {
    attributes.bytes(RTA_DST, bytes);
    if (family === "ipv6") attributes.u32(RTA_PRIORITY, IPV6_METRIC);
    attributes.u32(RTA_OIF, ifindex);
  });
}

/** Removes the best of the routes that lead to this very device; ESRCH where none does, or the device is gone. */
export function encodeDeleteRoute({ ifindex, prefix }: RouteKey): Uint8Array {
  const { family, bytes } = ipPrefixParts(prefix);
  const scope = family === "ipv4" ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
  const body = routeBody(prefix, RT_TABLE_MAIN, RTPROT_UNSPEC, scope, RTN_UNSPEC, 0);
  return encodeMessage(RTM_DELROUTE, NLM_F_ACK, body, (attributes) => {
    attributes.bytes(RTA_DST, bytes);
    attributes.u32(RTA_OIF, ifindex);
  });
}

/**
 * Asks which entry decides about one address of the prefix (RTM_F_FIB_MATCH): one of the prefix itself, or a shorter
 * one, or one that is longer and hides it. Takes as long with a million routes as with one. ENETUNREACH where
 * there is none; an entry that refuses answers with its own error (EHOSTUNREACH, EACCES, EINVAL).
 */
export function encodeGetRoute(prefix: IpPrefix): Uint8Array {
  const address = middleOf(prefix);
  const { bytes } = ipPrefixParts(address);
  // IPv6 refuses the flag, and tells the table without.
  const flags = RTM_F_FIB_MATCH | (bytes.length === 4 ? RTM_F_LOOKUP_TABLE : 0);
  const body = routeBody(address, 0, RTPROT_UNSPEC, RT_SCOPE_UNIVERSE, RTN_UNSPEC, flags);
  return encodeMessage(RTM_GETROUTE, 0, body, (attributes) => attributes.bytes(RTA_DST, bytes));
}

/** Asks for the routes of one family, of all tables, by one device (needs NETLINK_GET_STRICT_CHK). */
export function encodeDumpRoutes(ifindex: number, family: "ipv4" | "ipv6"): Uint8Array {
  const body = new Uint8Array(RTMSG_BYTES);
  body[0] = family === "ipv4" ? AF_INET : AF_INET6;
  return encodeMessage(RTM_GETROUTE, NLM_F_DUMP, body, (attributes) => attributes.u32(RTA_OIF, ifindex));
}

/** Reads the payload of an RTM_NEWROUTE; undefined for a family other than IPv4 and IPv6. */
export function decodeRoute(payload: Uint8Array): Route | undefined {
  if (payload.length < RTMSG_BYTES) throw malformed("A route message is shorter than its fixed part.");
  const [family, length = 0, , , shortTable = 0, protocol, , type] = payload;
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  let bytes: Uint8Array = new Uint8Array(ipByteCount(family));
  let ifindex: number | undefined;
  let table: number = shortTable;
  const attributes = new AttributeDecoder(payload, RTMSG_BYTES);
  while (attributes.next()) {
    if (attributes.type === RTA_DST) bytes = ipBytesOf(attributes, family);
    else if (attributes.type === RTA_OIF) ifindex = attributes.u32();
    else if (attributes.type === RTA_TABLE) table = attributes.u32();
  }
  attributes.finish();
  return {
    prefix: ipPrefixFromBytes(bytes, length),
    kind: type === RTN_UNICAST ? "unicast" : type === RTN_LOCAL ? "local" : "other",
    origin: protocol === RTPROT_KERNEL ? "kernel" : "other",
    table: table === RT_TABLE_MAIN || table === RT_TABLE_LOCAL ? "main" : "other",
    ...(ifindex === undefined ? {} : { ifindex }),
  };
}

/** `struct rtmsg`. */
function routeBody(
  prefix: IpPrefix,
  table: number,
  protocol: number,
  scope: number,
  type: number,
  flags: number,
): Uint8Array {
  const { family, length } = ipPrefixParts(prefix);
  const body = new Uint8Array(RTMSG_BYTES);
  body.set([family === "ipv4" ? AF_INET : AF_INET6, length, 0, 0, table, protocol, scope, type]);
  new DataView(body.buffer).setUint32(8, flags, HOST_IS_LITTLE_ENDIAN);
  return body;
}
