/**
 * The parent of macvtaps, which is the host's: left as it was found.
 *
 * In passthrough it is one macvtap's alone; how it was found is in that NIC's ownership, and so in the journal. In the
 * other modes several guests share it: that it was down before the first of them came is said by a further name on it,
 * which lasts as long as the device and which `ip link` shows, and the last one to go takes it down again.
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

function isMarked(parent: Link): boolean {
  return parent.altNames?.includes(markOf(parent)) === true;
}

/** For a parent that is down: the macvtaps are going to raise it. */
export function markParent(parent: Link): readonly RouteRequest[] {
  if (parent.state === "up" || isMarked(parent)) return [];
  return [{ op: "setAltName", ifindex: parent.ifindex, altName: markOf(parent), presence: "present" }];
}

/** Down again with its last user, where it was down before the first; `links` are all of the host's. */
export function lowerParent(nic: MacvtapNic, parent: Link, links: SeenLinks): readonly RouteRequest[] {
  if (!isMarked(parent) || parent.masterIfindex !== undefined) return [];
  if (stackedOn(parent, links).some(({ name }) => name !== nic.deviceName)) return [];
  const { ifindex } = parent;
  return [
    { op: "setLink", ifindex, change: { state: "down" } },
    { op: "setAltName", ifindex, altName: markOf(parent), presence: "absent" },
  ];
}

/** Every device on top of the parent; the far end of a pair is not on top of it. */
export function stackedOn(parent: Link, links: SeenLinks): readonly Link[] {
  return [...links.values()].filter((link) => link.parentIfindex === parent.ifindex && link.kind !== "veth");
}

export function asFound({ addrGenMode, macAddress, state }: Link): ParentAsFound {
  return {
    state,
    ...(macAddress === undefined ? {} : { macAddress }),
    ...(addrGenMode === "eui64" ? { addrGenMode } : {}),
  };
}

/** Ends what passthrough made of its parent: the guest's address, silence, and whether it is up. */
export function restoreParent({ ifindex }: Link, found: ParentAsFound | undefined): readonly RouteRequest[] {
  if (found === undefined) return [];
  const { state, ...change } = found;
  return [
    { op: "setLink", ifindex, change: { state: "down" } },
    ...(Object.keys(change).length === 0 ? [] : [{ op: "setLink", ifindex, change } as const]),
    ...(state === "up" ? [{ op: "setLink", ifindex, change: { state } } as const] : []),
  ];
}
