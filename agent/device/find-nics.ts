/**
 * Where the devices of NICs are: where their definitions say, or strayed.
 *
 * A device strays when others rename it, its bridge or its parent, or put it onto another bridge or into another mode.
 * Its NIC cannot be started there, but what is registered stays registered, and is to be stopped where it is: gone is
 * only what the kernel does not have any more (ENODEV). What is registered on another device that a definition names, a
 * VXLAN device, outlives the NIC's own.
 */
import type { Link } from "../netlink/link.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import type { Located, PlacedNic } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { readLinks } from "./nic-requests.ts";
import { linkOf } from "./route-answers.ts";

/** By NIC, the ifindex of the device that serves it, as it was prepared or found last in this boot of the host. */
export type KnownDevices = ReadonlyMap<string, number>;

export interface FoundNic {
  readonly nic: NicDefinition;
  readonly located: Located;
  /** Of a NIC whose device is not where the definition says, and that may have something registered. */
  readonly strayed?: PlacedNic<NicDefinition>;
}

/** Looks for each NIC's device; changes nothing. Throws as `RoutePort.execute` does. */
export function findNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  known: KnownDevices,
): readonly FoundNic[] {
  const links = readLinks(route, nics);
  const found = nics.map((nic) => ({ nic, located: deviceTypeOf(nic).locate(nic, links) }));
  const toLookFor = found.flatMap(({ nic, located }) =>
    located.found === "no" ? [known.get(nic.nicId) ?? 0] : [],
  );
  const devices = readByIfindex(route, toLookFor);
  const under = readByIfindex(route, [...devices.values()].map(underOf));
  return found.map((each) => {
    if (each.located.found === "yes") return each;
    const device = devices.get(known.get(each.nic.nicId) ?? 0);
    const wiredTo = device === undefined ? undefined : under.get(underOf(device));
    const strayed = deviceTypeOf(each.nic).strayed(each.nic, device, wiredTo, links);
    return strayed === undefined ? each : { ...each, strayed };
  });
}

/** Where the NIC can be stopped. */
export function placedOf({ nic, located, strayed }: FoundNic): PlacedNic<NicDefinition> | undefined {
  return located.found === "yes" ? { nic, place: located.place } : strayed;
}

/** The bridge of a port, the parent of a macvtap; 0 for a device without one. */
function underOf({ masterIfindex, parentIfindex }: Link): number {
  return masterIfindex ?? parentIfindex ?? 0;
}

function readByIfindex(route: RoutePort, ifindexes: readonly number[]): ReadonlyMap<number, Link> {
  const wanted = [...new Set(ifindexes)].filter((ifindex) => ifindex > 0);
  if (wanted.length === 0) return new Map();
  return new Map(
    route.execute(encodeBatch(wanted.map((ifindex) => ({ op: "getLink", ifindex })))).flatMap((result) => {
      const link = linkOf(result);
      return link === undefined ? [] : [[link.ifindex, link] as const];
    }),
  );
}
