import type { KernelChange } from "../../netlink/kernel-change.ts";
import type { BridgePortFlags, Link } from "../../netlink/link.ts";
import type { FdbEntry } from "../../netlink/neighbour.ts";
import type { DeviceType, NicPlace, Registered } from "../device.ts";
import type { TapOnBridgeNic } from "./definition.ts";
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
    const attach = device.masterIfindex === undefined && ownership.port === "attached";
    if (!isPort && !attach) return [];
    return [
      ...(attach ? [{ op: "setLink", ifindex, change: { masterIfindex: bridge.ifindex } } as const] : []),
      { op: "setBridgePort", ifindex, flags: flagsOf(nic, registered) },
      ...(device.state === "down" ? [{ op: "setLink", ifindex, change: { state: "up" } } as const] : []),
    ];
  },
};

function agrees(nic: TapOnBridgeNic, place: NicPlace, change: KernelChange, registered: Registered): boolean {
  switch (change.kind) {
    case "linkChanged":
      return change.link.name === nic.deviceName
        ? isAsMade(nic, place, change.link, registered)
        : change.link.name !== nic.bridge || change.link.ifindex === place.parentIfindex;
    case "linkRemoved":
    case "portRemoved":
      return change.name !== nic.deviceName && change.name !== nic.bridge;
    case "fdbEntryChanged":
      return change.entry.macAddress !== nic.macAddress || isWanted(nic, place, change.entry, registered);
    case "fdbEntryRemoved":
      return (
        change.entry.macAddress !== nic.macAddress ||
        registered === "quarantined" ||
        nic.macTableManager === "kernel" ||
        change.entry.ifindex !== place.deviceIfindex
      );
    case "addressChanged":
    case "addressRemoved":
      return true;
    case "overrun":
      return false;
  }
}

function isAsMade(nic: TapOnBridgeNic, place: NicPlace, link: Link, registered: Registered): boolean {
  const flags = flagsOf(nic, registered);
  return (
    link.ifindex === place.deviceIfindex &&
    link.masterIfindex === place.parentIfindex &&
    link.state === "up" &&
    (Object.keys(flags) as (keyof BridgePortFlags)[]).every((flag) => link.port?.[flag] === flags[flag])
  );
}

function isWanted(nic: TapOnBridgeNic, place: NicPlace, entry: FdbEntry, registered: Registered): boolean {
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
