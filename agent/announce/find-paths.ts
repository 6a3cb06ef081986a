import { deviceTypeOf } from "../device/device-types.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { readLinks } from "../device/nic-requests.ts";
import type { Link } from "../netlink/link.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import type { AnnouncedNic } from "./announcement.ts";
import type { BridgePorts } from "./bridge-ports.ts";

/** Uplinks are few; with more, most of a bridge's ports are something else. */
const MAX_LINKS_A_NIC = 16;

/**
 * Where each NIC is to be announced now; changes nothing. On a bridge of more than 16 other ports, the likeliest 16.
 * Throws as `RoutePort.execute` and `BridgePorts.of` do.
 */
export async function findPaths(
  route: RoutePort,
  bridgePorts: BridgePorts,
  nics: readonly NicDefinition[],
): Promise<readonly AnnouncedNic[]> {
  const links = new Map<number, Link>();
  for (const link of readLinks(route, nics).values()) links.set(link.ifindex, link);
  for (const { ifindex, kind } of [...links.values()]) {
    if (kind !== "bridge") continue;
    for (const port of await bridgePorts.of(ifindex)) links.set(port.ifindex, port);
  }
  return nics.map((nic) => {
    const paths = deviceTypeOf(nic).announceOn(nic, [...links.values()]);
    const likeliest = new Set([...new Set(paths.map(({ ifindex }) => ifindex))].slice(0, MAX_LINKS_A_NIC));
    return { nic, paths: paths.filter(({ ifindex }) => likeliest.has(ifindex)) };
  });
}
