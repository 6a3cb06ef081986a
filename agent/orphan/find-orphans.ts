import type { MacAddress } from "../../proto/mac-address.ts";
import { CREATED_ALIAS } from "../device/created-device.ts";
import type { Link } from "../netlink/link.ts";
import type { FdbEntry } from "../netlink/neighbour.ts";

/** Something that a Switchover agent made on this host and that no guest it knows uses. */
export type Orphan = {
  readonly deviceName: string;
  readonly ifindex: number;
  /** Null where the device is no port. */
  readonly bridge: string | null;
  /** `held`: a process, perhaps a VMM that nobody told this agent about, has the device open. */
  readonly use: "free" | "held";
} & (
  | { readonly kind: "device" }
  | { readonly kind: "fdbEntry"; readonly macAddress: MacAddress; readonly vlan?: number }
);

/**
 * Devices that carry Switchover's alias and serve no known NIC, and the static entries that point to them, entries
 * first. Without the alias nothing is an orphan, whatever it looks like; neither is anything on a device that serves a
 * known guest, whose owner may have put it there.
 */
export function findOrphans(
  links: readonly Link[],
  entries: readonly FdbEntry[],
  knownDevices: ReadonlySet<string>,
): readonly Orphan[] {
  const names = new Map(links.map(({ ifindex, name }) => [ifindex, name]));
  const devices = new Map(
    links
      .filter(({ alias, name }) => alias === CREATED_ALIAS && !knownDevices.has(name))
      .map((link) => [link.ifindex, toOrphan(link, names)]),
  );
  const ofDevices = entries.filter(
    ({ ifindex, masterIfindex, state }) =>
      devices.has(ifindex) && masterIfindex !== undefined && state === "static",
  );
  const ofEntries = ofDevices.flatMap((entry): Orphan[] => {
    const device = devices.get(entry.ifindex);
    if (device === undefined || isCopy(entry, ofDevices)) return [];
    const { macAddress, vlan } = entry;
    return [{ ...device, kind: "fdbEntry", macAddress, ...(vlan === undefined ? {} : { vlan }) }];
  });
  return [...ofEntries, ...devices.values()];
}

/**
 * Whether it came with an entry in no VLAN and goes with it: a kernel that can filter VLANs adds such an entry in each of
 * the port's VLANs as well.
 */
function isCopy({ ifindex, macAddress, vlan }: FdbEntry, entries: readonly FdbEntry[]): boolean {
  return (
    vlan !== undefined &&
    entries.some(
      (other) => other.vlan === undefined && other.ifindex === ifindex && other.macAddress === macAddress,
    )
  );
}

function toOrphan(link: Link, names: ReadonlyMap<number, string>): Orphan {
  return {
    kind: "device",
    deviceName: link.name,
    ifindex: link.ifindex,
    bridge: link.masterIfindex === undefined ? null : (names.get(link.masterIfindex) ?? null),
    use: isHeld(link) ? "held" : "free",
  };
}

/** A tap has a carrier while a process has it open. A macvtap has its parent's, so that nobody can tell. */
function isHeld({ carrier, kind }: Link): boolean {
  return kind === "macvtap" || carrier === "on";
}
