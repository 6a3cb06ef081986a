import type { KernelChange } from "../../netlink/kernel-change.ts";
import type { DeviceType, NicPlace, Registered } from "../device.ts";
import { isSilent } from "../device-link.ts";
import type { RoutedTapNic } from "./definition.ts";
import { quarantinedState } from "./state.ts";

/**
 * Against what others do to the tap, its addresses and its routes. A route that somebody takes away is not told by the
 * kernel, and is found by the audit: who holds a full table must not pay for each of its changes.
 */
export const routedTapMending: DeviceType<RoutedTapNic>["mend"] = {
  hear(nic, place, change, registered) {
    return place !== undefined && agrees(nic, place, change, registered) ? "agrees" : "mayDiffer";
  },

  // A tap that was made again must be silent before a start brings it up. One that is a port now has its reason.
  plan(nic, links) {
    const device = links.get(nic.deviceName);
    if (device === undefined || device.masterIfindex !== undefined || isSilent(device)) return [];
    return [{ op: "setLink", ifindex: device.ifindex, change: { addrGenMode: "none" } }];
  },
};

function agrees(nic: RoutedTapNic, place: NicPlace, change: KernelChange, registered: Registered): boolean {
  switch (change.kind) {
    case "linkChanged": {
      const { link } = change;
      if (link.name !== nic.deviceName) return true;
      const state = registered === "registered" ? "up" : quarantinedState(nic);
      if (state !== "any" && link.state !== state) return false;
      return link.ifindex === place.deviceIfindex && link.masterIfindex === undefined;
    }
    case "linkRemoved":
    case "portRemoved":
      return change.name !== nic.deviceName;
    case "addressChanged":
    case "addressRemoved": {
      const { ifindex, address } = change.address;
      if (ifindex !== place.deviceIfindex || !nic.hostAddresses.includes(address)) return true;
      return (change.kind === "addressChanged") === (registered === "registered");
    }
    case "fdbEntryChanged":
    case "fdbEntryRemoved":
    case "groupEntryChanged":
    case "groupEntryRemoved":
      return true;
    case "overrun":
      return false;
  }
}
