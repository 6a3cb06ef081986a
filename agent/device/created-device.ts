import type { Link } from "../netlink/link.ts";
import type { DeviceOwnership } from "./device.ts";

/** The alias of devices that Switchover created: what tells them from others after a restart. */
export const CREATED_ALIAS = "switchover";

/** Whose a device is that is prepared: one that was not there is made, and one that says so was. */
export function originOf(before: Link | undefined): DeviceOwnership["device"] {
  return before === undefined || before.alias === CREATED_ALIAS ? "created" : "existing";
}

/** Whether releasing the device deletes it: a stranger may have taken its name, so only one that says so is ours. */
export function isToBeDeleted(link: Link, ownership: DeviceOwnership, device: "delete" | "keep"): boolean {
  return ownership.device === "created" && device === "delete" && link.alias === CREATED_ALIAS;
}
