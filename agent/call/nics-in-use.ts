import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { IpPrefix } from "../../proto/ip-prefix.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import type { NicPath } from "../device/check-nics.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { addressesOf } from "../device/nic-identity.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
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

/** By NIC, what was prepared for the same device, on the same bridge or parent, of an instance that has lost its VMM. */
export function formerlyPrepared(
  abandoned: readonly Instance[],
  nics: readonly NicDefinition[],
): ReadonlyMap<string, PreparedNic> {
  const all = abandoned.flatMap(({ nics: its, prepared }) =>
    its.flatMap((nic) =>
      prepared.filter(({ nicId }) => nicId === nic.nicId).map((found) => ({ nic, found })),
    ),
  );
  return new Map(
    nics.flatMap((nic) => {
      const former = all.find(({ nic: its }) => isSamePlace(nic, its));
      return former === undefined ? [] : [[nic.nicId, former.found] as const];
    }),
  );
}

function isSamePlace(nic: NicDefinition, other: NicDefinition): boolean {
  const type = deviceTypeOf(nic);
  return (
    type.type === other.type &&
    type.deviceName(nic) !== undefined &&
    type.deviceName(nic) === type.deviceName(other) &&
    type.segment(nic) === type.segment(other)
  );
}

/** One bridge, and one parent, delivers a MAC to one device: another guest with it would take it over silently. */
export function refuseForeignMacs(
  host: Host,
  guestId: GuestId,
  nics: readonly NicDefinition[],
  pathOf: NicPath,
): void {
  const others = instancesOfOthers(host, guestId);
  for (const [index, nic] of nics.entries()) {
    const segment = deviceTypeOf(nic).segment(nic);
    if (segment === undefined) continue;
    for (const { macAddress, field } of addressesOf(nic)) {
      const owner = others.find((other) =>
        other.nics.some((its) => deviceTypeOf(its).segment(its) === segment && hasAddress(its, macAddress)),
      );
      if (owner === undefined) continue;
      throw new SwitchoverError(
        "FAILED_PRECONDITION",
        `${macAddress} on ${segment} belongs to guest ${owner.guestId}.`,
        { reason: "MAC_IN_USE", field: `${pathOf(index)}.${field}` },
      );
    }
  }
}

/** A VXLAN device has one entry an address: one instance's quarantine would take it from the other one, which runs. */
export function refuseSharedDevices(
  host: Host,
  guestId: GuestId,
  nics: readonly NicDefinition[],
  own: Instance | undefined,
  pathOf: NicPath,
): void {
  const others = host.instances
    .ofGuest(guestId)
    .filter((other) => other !== own && !other.isAbandoned())
    .flatMap(({ instanceId, nics: its }) => its.map((nic) => ({ instanceId, nic })));
  for (const [index, nic] of nics.entries()) {
    const shared = deviceTypeOf(nic).hostwide?.(nic);
    const holder = others.find(
      ({ nic: its }) =>
        shared !== undefined &&
        deviceTypeOf(its).hostwide?.(its)?.device === shared.device &&
        addressesOf(nic).some(({ macAddress }) => hasAddress(its, macAddress)),
    );
    if (shared === undefined || holder === undefined) continue;
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `${shared.device} has one entry for an address of NIC ${nic.nicId}, and that is instance ${holder.instanceId}'s.`,
      { reason: "VXLAN_IN_USE", field: `${pathOf(index)}.${deviceTypeOf(nic).field}.${shared.field}` },
    );
  }
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

function hasAddress(nic: NicDefinition, macAddress: MacAddress): boolean {
  return addressesOf(nic).some((its) => its.macAddress === macAddress);
}

function routesOf(nic: NicDefinition): readonly IpPrefix[] {
  return deviceTypeOf(nic).routes?.(nic) ?? [];
}

/** Of those that may still have their VMM. */
function instancesOfOthers(host: Host, guestId: GuestId): readonly Instance[] {
  return host.instances.all().filter((other) => other.guestId !== guestId && !other.isAbandoned());
}
