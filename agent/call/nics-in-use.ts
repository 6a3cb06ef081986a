import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { IpPrefix } from "../../proto/ip-prefix.ts";
import type { NicPath } from "../device/check-nics.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";

/**
 * Throws FAILED_PRECONDITION / DEVICE_IN_USE where an instance other than `own` that may still have its VMM uses one of
 * the devices; returns those that have lost theirs.
 */
export function devicesInUse(
  host: Host,
  nics: readonly NicDefinition[],
  own: Instance | undefined,
  pathOf: NicPath,
): readonly Instance[] {
  const wanted = new Map(nics.map((nic, index) => [deviceTypeOf(nic).deviceName(nic), { nic, index }]));
  wanted.delete(undefined);
  return host.instances.all().filter((instance) => {
    if (instance === own) return false;
    const shared = instance.nics
      .map((nic) => wanted.get(deviceTypeOf(nic).deviceName(nic)))
      .find((found) => found !== undefined);
    if (shared === undefined || instance.isAbandoned()) return shared !== undefined;
    const { field, deviceName } = deviceTypeOf(shared.nic);
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `Device ${deviceName(shared.nic)} belongs to instance ${instance.instanceId} of guest ${instance.guestId}.`,
      { reason: "DEVICE_IN_USE", field: `${pathOf(shared.index)}.${field}.device_name` },
    );
  });
}

/** One bridge, and one parent, delivers a MAC to one device: another guest with it would take it over silently. */
export function refuseForeignMacs(
  host: Host,
  guestId: GuestId,
  nics: readonly NicDefinition[],
  pathOf: NicPath,
): void {
  const others = instancesOfOthers(host, guestId);
  nics.forEach((nic, index) => {
    const { macAddress } = nic;
    const segment = deviceTypeOf(nic).segment(nic);
    if (segment === undefined) return;
    const owner = others.find((other) =>
      other.nics.some((its) => its.macAddress === macAddress && deviceTypeOf(its).segment(its) === segment),
    );
    if (owner === undefined) return;
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `${macAddress} on ${segment} belongs to guest ${owner.guestId}.`,
      { reason: "MAC_IN_USE", field: `${pathOf(index)}.mac_address` },
    );
  });
}

/** A prefix leads to one device: the guest that starts last would take it over silently. */
export function refuseForeignRoutes(
  host: Host,
  guestId: GuestId,
  nics: readonly NicDefinition[],
  pathOf: NicPath,
): void {
  if (!nics.some((nic) => deviceTypeOf(nic).routes !== undefined)) return;
  const owners = new Map(
    instancesOfOthers(host, guestId).flatMap((other) =>
      other.nics.flatMap((its) => routesOf(its).map((route) => [route, other.guestId] as const)),
    ),
  );
  nics.forEach((nic, index) => {
    routesOf(nic).forEach((route, routeIndex) => {
      const owner = owners.get(route);
      if (owner === undefined) return;
      throw new SwitchoverError("FAILED_PRECONDITION", `${route} belongs to guest ${owner}.`, {
        reason: "ROUTE_IN_USE",
        field: `${pathOf(index)}.${deviceTypeOf(nic).field}.routes[${routeIndex}]`,
      });
    });
  });
}

function routesOf(nic: NicDefinition): readonly IpPrefix[] {
  return deviceTypeOf(nic).routes?.(nic) ?? [];
}

/** Of those that may still have their VMM. */
function instancesOfOthers(host: Host, guestId: GuestId): readonly Instance[] {
  return host.instances.all().filter((other) => other.guestId !== guestId && !other.isAbandoned());
}
