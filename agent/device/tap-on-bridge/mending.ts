import type { KernelChange } from "../../netlink/kernel-change.ts";
import type { BridgePortFlags, Link } from "../../netlink/link.ts";
import type { MulticastEntry } from "../../netlink/multicast.ts";
import type { FdbEntry } from "../../netlink/neighbour.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { DeviceType, NicPlace, Registered } from "../device.ts";
import { isSilent } from "../device-link.ts";
import { addressesOf } from "../nic-identity.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { missingVlansOf } from "./place.ts";
import { QUARANTINE_FLAGS, runningFlags } from "./state.ts";

/** Against what others do to the tap, to its port and to the bridge's entry. */
export const tapOnBridgeMending: DeviceType<TapOnBridgeNic>["mend"] = {
  hear(nic, place, change, registered) {
    return place !== undefined && agrees(nic, place, change, registered) ? "agrees" : "mayDiffer";
  },

  // Only where `prepare` put the tap on the bridge: who attached it himself may have had a reason to take it off.
  plan(nic, links, ownership, registered) {
    const bridge = links.get(nic.bridge);
    const device = links.get(nic.deviceName);
    if (bridge === undefined || device === undefined) return [];
    const { ifindex } = device;
    const isPort = device.masterIfindex === bridge.ifindex;
    const attach =
      device.masterIfindex === undefined && ownership.port === "attached" && registered === "registered";
    if (!isPort && !attach) return [];
    return [
      ...(attach ? [{ op: "setLink", ifindex, change: { masterIfindex: bridge.ifindex } } as const] : []),
      { op: "setBridgePort", ifindex, flags: flagsOf(nic, registered) },
      ...(ownership.port === "attached" ? intoVlans(nic, ifindex) : []),
      // One that was made again, or was in another namespace, has lost it.
      ...(isSilent(device) ? [] : [{ op: "setLink", ifindex, change: { addrGenMode: "none" } } as const]),
      ...(device.state === "down" ? [{ op: "setLink", ifindex, change: { state: "up" } } as const] : []),
    ];
  },
};

/** Into the definition's VLANs and no others: nobody else can have done that for a port that `prepare` made one. */
export function intoVlans({ vlans }: TapOnBridgeNic, ifindex: number): readonly RouteRequest[] {
  if (vlans === undefined) return [];
  return [
    { op: "keepPortVlans", ifindex, vlans },
    { op: "addPortVlans", ifindex, vlans },
  ];
}

function agrees(nic: TapOnBridgeNic, place: NicPlace, change: KernelChange, registered: Registered): boolean {
  switch (change.kind) {
    case "linkChanged":
      return linkAgrees(nic, place, change.link, registered);
    case "linkRemoved":
      return ![nic.deviceName, nic.bridge, nic.vxlan?.deviceName].includes(change.name);
    case "portRemoved":
      return change.name !== nic.deviceName && change.name !== nic.bridge;
    case "fdbEntryChanged":
      return !isOurs(nic, change.entry) || isWanted(nic, place, change.entry, registered);
    case "fdbEntryRemoved":
      return (
        !isOurs(nic, change.entry) ||
        registered === "quarantined" ||
        nic.macTableManager === "kernel" ||
        (change.entry.ifindex !== place.deviceIfindex && change.entry.ifindex !== place.overlayIfindex)
      );
    case "addressChanged":
    case "addressRemoved":
      return true;
    case "groupEntryChanged":
      return !isOurMembership(nic, place, change.entry) || registered === "registered";
    case "groupEntryRemoved":
      return !isOurMembership(nic, place, change.entry) || registered === "quarantined";
    case "overrun":
      return false;
  }
}

function linkAgrees(nic: TapOnBridgeNic, place: NicPlace, link: Link, registered: Registered): boolean {
  switch (link.name) {
    case nic.deviceName:
      return isAsMade(nic, place, link, registered);
    case nic.bridge:
      // Whether it snooped before is not told: its groups may be there to join now.
      return (
        link.ifindex === place.parentIfindex &&
        nic.multicastGroups === undefined &&
        (nic.vlans === undefined || link.vlanFiltering !== "off")
      );
    case nic.vxlan?.deviceName:
      return link.ifindex === place.overlayIfindex;
    default:
      return true;
  }
}

function isOurs({ vlans, ...nic }: TapOnBridgeNic, { macAddress, vlan, vtepAddress }: FdbEntry): boolean {
  const inVlan =
    vtepAddress !== undefined || vlan === undefined || vlans === undefined || vlans.includes(vlan);
  return inVlan && addressesOf(nic).some((ours) => ours.macAddress === macAddress);
}

function isOurMembership(nic: TapOnBridgeNic, place: NicPlace, entry: MulticastEntry): boolean {
  return entry.ifindex === place.deviceIfindex && (nic.multicastGroups ?? []).includes(entry.group);
}

function isAsMade(nic: TapOnBridgeNic, place: NicPlace, link: Link, registered: Registered): boolean {
  const flags = flagsOf(nic, registered);
  return (
    link.ifindex === place.deviceIfindex &&
    link.masterIfindex === place.parentIfindex &&
    link.state === "up" &&
    // A bridge's word of a port in no VLAN is as silent of VLANs as the device's own.
    (nic.vlans === undefined || (link.portVlans !== undefined && missingVlansOf(nic, link).length === 0)) &&
    (Object.keys(flags) as (keyof BridgePortFlags)[]).every((flag) => link.port?.[flag] === flags[flag])
  );
}

function isWanted(nic: TapOnBridgeNic, place: NicPlace, entry: FdbEntry, registered: Registered): boolean {
  const { vtepAddress } = entry;
  if (vtepAddress !== undefined) {
    if (entry.ifindex !== place.overlayIfindex) return true;
    const isOurVtep = vtepAddress === nic.vxlan?.vtepAddress;
    return registered === "registered" ? isOurVtep && entry.state !== "dynamic" : !isOurVtep;
  }
  const isHere = entry.ifindex === place.deviceIfindex;
  if (registered === "quarantined") return !isHere;
  if (nic.macTableManager === "kernel") return entry.state === "dynamic";
  // An entry of another bridge says nothing, but which bridge it is may have changed as well.
  if (entry.masterIfindex !== undefined && entry.masterIfindex !== place.parentIfindex) return !isHere;
  return isHere && entry.state === "static" && entry.sticky === nic.sticky;
}

function flagsOf(nic: TapOnBridgeNic, registered: Registered): BridgePortFlags {
  return registered === "registered" ? runningFlags(nic) : QUARANTINE_FLAGS;
}
