/**
 * The parent of macvtaps, which is the host's: left as it was found.
 *
 * In passthrough it is one macvtap's alone; how it was found is in that NIC's ownership, and so in the journal. In the
 * other modes several guests share it, and the host: a further name on it, which `ip link` shows, says that its macvtaps
 * have raised it.
 */
import type { Link } from "../../netlink/link.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { ParentAsFound, SeenLinks } from "../device.ts";
import type { MacvtapNic } from "./definition.ts";

const MARK = "switchover-raises";

/** Unique in its network namespace, as the names of devices must be. */
function markOf({ ifindex }: Link): string {
  return `${MARK}-${ifindex}`;
}

export function isMarked(parent: Link): boolean {
  return parent.altNames?.includes(markOf(parent)) === true;
}

/** For a parent that is down: the macvtaps are going to raise it. */
export function markParent(parent: Link): readonly RouteRequest[] {
  if (parent.state === "up" || isMarked(parent)) return [];
  return [{ op: "setAltName", ifindex: parent.ifindex, altName: markOf(parent), presence: "present" }];
}

/** With its last macvtap the mark goes; the parent stays up, for the host may use it by then. `links` are all. */
export function unmarkParent(nic: MacvtapNic, parent: Link, links: SeenLinks): readonly RouteRequest[] {
  if (!isMarked(parent)) return [];
  if (stackedOn(parent, links).some(({ name }) => name !== nic.deviceName)) return [];
  return [{ op: "setAltName", ifindex: parent.ifindex, altName: markOf(parent), presence: "absent" }];
}

/** Every device on top of the parent; the far end of a pair is not on top of it. */
export function stackedOn(parent: Link, links: SeenLinks): readonly Link[] {
  return [...links.values()].filter((link) => link.parentIfindex === parent.ifindex && link.kind !== "veth");
}

/** An address that is the guest's is what an earlier preparation gave it: the kernel takes that back with the macvtap. */
export function asFound({ addrGenMode, macAddress, state }: Link, nic: MacvtapNic): ParentAsFound {
  return {
    state,
    ...(macAddress === undefined || macAddress === nic.macAddress ? {} : { macAddress }),
    ...(addrGenMode === "eui64" ? { addrGenMode } : {}),
  };
}

/**
 * Ends what passthrough made of its parent: the guest's address, silence, and whether it is up. One that is as it was found
 * is not touched, and so not blipped.
 */
export function restoreParent(parent: Link, found: ParentAsFound | undefined): readonly RouteRequest[] {
  if (found === undefined) return [];
  const { ifindex } = parent;
  const { addrGenMode, macAddress, state } = found;
  const change = {
    ...(macAddress === undefined || macAddress === parent.macAddress ? {} : { macAddress }),
    ...(addrGenMode === undefined || addrGenMode === parent.addrGenMode ? {} : { addrGenMode }),
  };
  const isOther = Object.keys(change).length > 0;
  const goesDown = parent.state === "up" && (state === "down" || isOther);
  const isDown = parent.state === "down" || goesDown;
  return [
    ...(goesDown ? [{ op: "setLink", ifindex, change: { state: "down" } } as const] : []),
    ...(isOther ? [{ op: "setLink", ifindex, change } as const] : []),
    ...(state === "up" && isDown ? [{ op: "setLink", ifindex, change: { state } } as const] : []),
  ];
}
