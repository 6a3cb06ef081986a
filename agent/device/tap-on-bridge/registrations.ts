/**
 * What a guest's NIC registers while its CPUs run: an entry of the bridge for each address, a membership for each group,
 * each in each of the NIC's VLANs, and an entry of the VXLAN device for each address. All by the same rules (R1, R2), and
 * each by one request that makes it, one that removes it from here and one that reads it.
 */
import type { MacAddress } from "../../../proto/mac-address.ts";
import type { MulticastGroup } from "../../netlink/multicast.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace } from "../device.ts";
import { addressesOf } from "../nic-identity.ts";
import type { TapOnBridgeNic, VxlanOfNic } from "./definition.ts";

export interface AddressRegistration {
  readonly kind: "address";
  readonly macAddress: MacAddress;
  readonly vlan?: number;
  /** The part of the NIC's definition that asks for it. */
  readonly field: string;
}

export interface GroupRegistration {
  readonly kind: "group";
  readonly group: MulticastGroup;
  readonly vlan?: number;
  readonly field: string;
}

export interface VxlanRegistration {
  readonly kind: "vxlan";
  readonly macAddress: MacAddress;
  readonly vxlan: VxlanOfNic;
  readonly overlayIfindex: number;
  readonly field: string;
}

export type Registration = AddressRegistration | GroupRegistration | VxlanRegistration;

/**
 * All that is registered at this place, the NIC's own address first; nothing for a VXLAN device that is not there. What was
 * on a bridge, the kernel has removed with the port (trap 4).
 */
export function registrationsOf(nic: TapOnBridgeNic, place: NicPlace): readonly Registration[] {
  if (isOffBridges(place)) return vxlanRegistrationsOf(nic, place);
  const addresses = addressRegistrationsOf(nic);
  if (nic.multicastGroups === undefined && nic.vxlan === undefined) return addresses;
  return [...addresses, ...groupRegistrationsOf(nic), ...vxlanRegistrationsOf(nic, place)];
}

/** Of a tap that is no port of any bridge, or gone. */
export function isOffBridges({ parentIfindex }: NicPlace): boolean {
  return parentIfindex === 0;
}

export function addressRegistrationsOf(nic: TapOnBridgeNic): readonly AddressRegistration[] {
  return addressesOf(nic).flatMap(({ macAddress, field }) =>
    inEachVlan(nic, { kind: "address", macAddress, field }),
  );
}

export function groupRegistrationsOf(nic: TapOnBridgeNic): readonly GroupRegistration[] {
  return (nic.multicastGroups ?? []).flatMap((group, index) =>
    inEachVlan(nic, { kind: "group", group, field: `tap_on_bridge.multicast_groups[${index}]` }),
  );
}

export function vxlanRegistrationsOf(
  nic: TapOnBridgeNic,
  { overlayIfindex }: NicPlace,
): readonly VxlanRegistration[] {
  const { vxlan } = nic;
  if (vxlan === undefined || overlayIfindex === undefined) return [];
  return addressesOf(nic).map(({ macAddress }) => ({
    kind: "vxlan",
    macAddress,
    vxlan,
    overlayIfindex,
    field: "tap_on_bridge.vxlan",
  }));
}

function inEachVlan<R extends object>({ vlans }: TapOnBridgeNic, registration: R): (R & { vlan?: number })[] {
  return vlans === undefined ? [registration] : vlans.map((vlan) => ({ ...registration, vlan }));
}

/** Makes it, whoever had it; where the kernel manages the bridge, what would keep the kernel from learning it goes. */
export function addRequest(nic: TapOnBridgeNic, place: NicPlace, registration: Registration): RouteRequest {
  switch (registration.kind) {
    case "address":
      return nic.macTableManager === "switchover"
        ? { op: "replaceFdbEntry", ...fdbKey(place, registration), sticky: nic.sticky }
        : removeRequest(place, registration);
    case "group":
      return { op: "replaceGroupEntry", ifindex: place.deviceIfindex, ...groupKey(place, registration) };
    case "vxlan":
      return { op: "replaceVxlanEntry", ...vxlanKey(registration) };
  }
}

/** Removes it only where it leads here. */
export function removeRequest(place: NicPlace, registration: Registration): RouteRequest {
  switch (registration.kind) {
    case "address":
      return { op: "deleteFdbEntry", ...fdbKey(place, registration) };
    case "group":
      return { op: "deleteGroupEntry", ifindex: place.deviceIfindex, ...groupKey(place, registration) };
    case "vxlan":
      return { op: "deleteVxlanEntry", ...vxlanKey(registration) };
  }
}

export function readRequest(place: NicPlace, registration: Registration): RouteRequest {
  switch (registration.kind) {
    case "address": {
      const { macAddress, vlan } = registration;
      return { op: "getFdbEntry", bridgeIfindex: place.parentIfindex, macAddress, ...inVlan(vlan) };
    }
    case "group":
      return { op: "getGroupEntry", ...groupKey(place, registration) };
    case "vxlan": {
      const { vtepAddress: _vtepAddress, ...key } = vxlanKey(registration);
      return { op: "getVxlanEntry", ...key };
    }
  }
}

function fdbKey(place: NicPlace, { macAddress, vlan }: AddressRegistration) {
  return { ifindex: place.deviceIfindex, macAddress, ...inVlan(vlan) };
}

function groupKey(place: NicPlace, { group, vlan }: GroupRegistration) {
  return { bridgeIfindex: place.parentIfindex, group, ...inVlan(vlan) };
}

function vxlanKey({ macAddress, overlayIfindex, vxlan: { vtepAddress, vni } }: VxlanRegistration) {
  return { ifindex: overlayIfindex, macAddress, vtepAddress, ...(vni === undefined ? {} : { vni }) };
}

function inVlan(vlan: number | undefined): { readonly vlan?: number } {
  return vlan === undefined ? {} : { vlan };
}
