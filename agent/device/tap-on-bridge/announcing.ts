import type { Link } from "../../netlink/link.ts";
import type { AnnouncementPath } from "../device.ts";
import type { TapOnBridgeNic } from "./definition.ts";

/**
 * The bridge's other ports, but for taps: there the guest itself and other guests are, who would take their own address
 * for a duplicate (trap 9). Peers on the bridge need no announcement, the entry leads them. Physical ports come first:
 * behind a veth a container is as likely as the fabric. What the spanning tree blocks stays silent.
 */
export function announceOnUplinks(nic: TapOnBridgeNic, links: readonly Link[]): readonly AnnouncementPath[] {
  const bridge = links.find(({ kind, name }) => kind === "bridge" && name === nic.bridge);
  if (bridge === undefined) return [];
  return links
    .filter(
      ({ kind, masterIfindex, portState, state }) =>
        masterIfindex === bridge.ifindex && kind !== "tun" && state === "up" && portState !== "blocked",
    )
    .toSorted((left, right) => Number(left.kind === "veth") - Number(right.kind === "veth"))
    .flatMap(({ ifindex }) => inEachVlan(nic, ifindex));
}

/** Uplinks of a bridge that filters carry their VLANs tagged, also the one that a tap carries untagged. */
function inEachVlan({ vlans }: TapOnBridgeNic, ifindex: number): readonly AnnouncementPath[] {
  return vlans === undefined ? [{ ifindex }] : vlans.map((vlan) => ({ ifindex, vlan }));
}
