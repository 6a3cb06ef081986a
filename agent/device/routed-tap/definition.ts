import { invalidArgument } from "../../../proto/error.ts";
import {
  containsParts,
  type IpPrefix,
  type IpPrefixParts,
  ipPrefixParts,
  isNetwork,
  parseIpPrefix,
} from "../../../proto/ip-prefix.ts";
import { parseDeviceName } from "../device-name.ts";
import type { NicIdentity } from "../nic-identity.ts";

/** A guest's NIC on a tap that is no port of anything: the host routes to the guest (`ethernet` in libvirt). */
export interface RoutedTapNic extends NicIdentity {
  readonly type: "routedTap";
  readonly deviceName: string;
  /** What the host answers to on the tap while the guest runs. */
  readonly hostAddresses: readonly IpPrefix[];
  /** What the host routes to the guest while it runs. */
  readonly routes: readonly IpPrefix[];
}

/** Of addresses, and of routes. */
const MAX_PREFIXES = 64;
const IPV4_FIRST_GROUP = 224;
const IPV6_GROUP = 0xff;
const IPV4_LOOPBACK = 127;

export function checkRoutedTap(nic: RoutedTapNic, field: string): void {
  parseDeviceName(nic.deviceName, `${field}.device_name`);
  checkHostAddresses(nic.hostAddresses, `${field}.host_addresses`);
  checkRoutes(nic.routes, `${field}.routes`);
  nic.routes.forEach((route, index) => {
    if (!nic.hostAddresses.some((address) => hostPrefix(address) === route)) return;
    throw invalidArgument(`${field}.routes[${index}]`, `${route} is the host's own address on the tap.`);
  });
}

function checkHostAddresses(addresses: readonly IpPrefix[], field: string): void {
  requireAtMost(addresses, field);
  const seen = new Set<string>();
  addresses.forEach((address, index) => {
    const at = `${field}[${index}]`;
    const parts = ipPrefixParts(parseIpPrefix(address, at));
    requireUnicast(address, parts, at);
    if (parts.bytes.every((byte) => byte === 0)) {
      throw invalidArgument(at, `${address} is nobody's address.`);
    }
    if (parts.length === 0) {
      throw invalidArgument(at, `${address} would make the whole world the tap's neighbours.`);
    }
    const host = hostPrefix(address);
    if (seen.has(host)) throw invalidArgument(at, `${address} is there twice.`, "DUPLICATE");
    seen.add(host);
  });
}

function checkRoutes(routes: readonly IpPrefix[], field: string): void {
  requireAtMost(routes, field);
  const networks = routes.map((route, index) => {
    const at = `${field}[${index}]`;
    const parts = ipPrefixParts(parseIpPrefix(route, at));
    requireUnicast(route, parts, at);
    if (parts.length === 0) {
      throw invalidArgument(at, `${route} is the default route, which cannot be a guest's.`, "DEFAULT_ROUTE");
    }
    if (!isNetwork(route)) {
      throw invalidArgument(at, `${route} has bits set after its network part.`, "HOST_BITS_SET");
    }
    return parts;
  });
  networks.forEach((network, index) => {
    const route = routes[index];
    const found = networks.findIndex(
      (candidate, other) =>
        other !== index && (other < index || routes[other] !== route) && containsParts(candidate, network),
    );
    if (found < 0) return;
    const at = `${field}[${index}]`;
    const other = routes[found];
    if (other === route) throw invalidArgument(at, `${route} is there twice.`, "DUPLICATE");
    throw invalidArgument(at, `${route} lies within ${other}, which has the same way.`, "DUPLICATE");
  });
}

function requireAtMost(prefixes: readonly IpPrefix[], field: string): void {
  if (prefixes.length <= MAX_PREFIXES) return;
  throw invalidArgument(field, `${prefixes.length} are more than the ${MAX_PREFIXES} of a NIC.`);
}

function requireUnicast(prefix: IpPrefix, { family, bytes }: IpPrefixParts, field: string): void {
  const [first = 0] = bytes;
  const isGroup = family === "ipv4" ? first >= IPV4_FIRST_GROUP : first === IPV6_GROUP;
  const isLoopback = family === "ipv4" ? first === IPV4_LOOPBACK : hostPrefix(prefix) === "::1/128";
  if (!isGroup && !isLoopback) return;
  throw invalidArgument(field, `${prefix} cannot be ${isGroup ? "one station's" : "on a device"}.`);
}

/** The address alone. */
function hostPrefix(address: IpPrefix): string {
  return `${address.slice(0, address.lastIndexOf("/"))}/${address.includes(":") ? 128 : 32}`;
}
