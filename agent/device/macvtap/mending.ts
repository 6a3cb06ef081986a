import type { KernelChange } from "../../netlink/kernel-change.ts";
import type { Link } from "../../netlink/link.ts";
import type { DeviceType, NicPlace, Registered } from "../device.ts";
import { isSilent } from "../device-link.ts";
import type { MacvtapNic } from "./definition.ts";
import { isExclusive, isHushed, misfitOf, unhush } from "./state.ts";

/** Against what others do to the macvtap and to its parent. */
export const macvtapMending: DeviceType<MacvtapNic>["mend"] = {
  hear(nic, place, change, registered) {
    return place !== undefined && agrees(nic, place, change, registered) ? "agrees" : "mayDiffer";
  },

  // Up and down is what start and stop make, of the parent too.
  plan(nic, links, _ownership, registered) {
    const parent = links.get(nic.parent);
    const device = links.get(nic.deviceName);
    if (parent === undefined || device === undefined) return [];
    if (misfitOf(nic, device, parent) !== undefined) return [];
    const { ifindex } = device;
    return [
      ...(device.macAddress === nic.macAddress
        ? []
        : [{ op: "setLink", ifindex, change: { macAddress: nic.macAddress } } as const]),
      // One that was made again, or was in another namespace, has lost it.
      ...(isSilent(device) ? [] : [{ op: "setLink", ifindex, change: { addrGenMode: "none" } } as const]),
      // Of a stop whose rest never came, with the agent that had begun it.
      ...(isHushed(nic, device) && registered === "registered" ? unhush(nic, ifindex) : []),
    ];
  },
};

function agrees(nic: MacvtapNic, place: NicPlace, change: KernelChange, registered: Registered): boolean {
  switch (change.kind) {
    case "linkChanged":
      if (change.link.name === nic.deviceName) return isAsMade(nic, place, change.link, registered);
      return change.link.name !== nic.parent || isParentAsMade(nic, place, change.link, registered);
    case "linkRemoved":
      return change.name !== nic.deviceName && change.name !== nic.parent;
    case "portRemoved":
    case "fdbEntryChanged":
    case "fdbEntryRemoved":
    case "addressChanged":
    case "addressRemoved":
    case "groupEntryChanged":
    case "groupEntryRemoved":
      return true;
    case "overrun":
      return false;
  }
}

function isAsMade(nic: MacvtapNic, place: NicPlace, link: Link, registered: Registered): boolean {
  return (
    link.ifindex === place.deviceIfindex &&
    link.macAddress === nic.macAddress &&
    (registered === "registered" ? link.state === "up" : link.state === "down" || isDeregistered(nic, link))
  );
}

/** On its way down. */
function isDeregistered(nic: MacvtapNic, link: Link): boolean {
  return isHushed(nic, link) || (isExclusive(nic) && link.operState === "lowerLayerDown");
}

function isParentAsMade(nic: MacvtapNic, place: NicPlace, link: Link, registered: Registered): boolean {
  if (link.ifindex !== place.parentIfindex) return false;
  if (registered === "registered") return link.state === "up";
  return !isExclusive(nic) || link.state === "down";
}
