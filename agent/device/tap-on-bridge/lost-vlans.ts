/**
 * VLANs that others have taken the port out of while its guest was registered there.
 *
 * The kernel forgets what it has learned in such a VLAN and keeps the static entries: frames for the guest still go to the
 * port, which drops them, wherever the guest is by then. It refuses to remove one by its address (EINVAL), and removes all
 * that the port has there by a flush (from 5.19 on). Joining the VLAN again for that time would do on any kernel, and
 * would let a frame in that waits for the guest until it runs again.
 */
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace } from "../device.ts";
import { leadsHere } from "./judge-registration.ts";
import { type Registration, readRequest } from "./registrations.ts";

/** Reads what is registered in the VLANs that the port has left, and removes it; empty where it has left none. */
export function flushRequests(
  place: NicPlace,
  registrations: readonly Registration[],
): readonly RouteRequest[] {
  const { deviceIfindex: ifindex, missingVlans: vlans = [] } = place;
  return [
    ...inLostVlans(place, registrations).map((registration) => readRequest(place, registration)),
    ...vlans.map((vlan) => ({ op: "flushStaticEntries", ifindex, vlan }) as const),
  ];
}

/** Whether there was something to remove, by the answers to `flushRequests`. */
export function wasInLostVlans(
  place: NicPlace,
  registrations: readonly Registration[],
  answers: readonly RouteResult[],
): boolean {
  return inLostVlans(place, registrations).some((lost, index) => leadsHere(place, lost, answers[index]));
}

/** The entries: a membership can be removed in any VLAN. */
export function inLostVlans(
  { missingVlans = [] }: NicPlace,
  registrations: readonly Registration[],
): readonly Registration[] {
  return registrations.filter(
    (registration) =>
      registration.kind === "address" &&
      registration.vlan !== undefined &&
      missingVlans.includes(registration.vlan),
  );
}
