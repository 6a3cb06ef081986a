import type { Link } from "../../netlink/link.ts";
import type { Located, NicPlace, NicProblem, SeenLinks } from "../device.ts";
import { deviceMissing } from "../device-link.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { vlanNotOnPort } from "./judge-registration.ts";
import { DEVICE_FIELD, notAPort } from "./state.ts";

/** Where the tap is a port of its bridge; found also where its VXLAN device or its VLANs are missing (`judgePlace`). */
export function locate(nic: TapOnBridgeNic, links: SeenLinks): Located {
  const bridge = links.get(nic.bridge);
  const device = links.get(nic.deviceName);
  if (bridge === undefined) return { found: "no", problem: bridgeMissing(nic) };
  if (device === undefined) return { found: "no", problem: deviceMissing(nic.deviceName, DEVICE_FIELD) };
  if (device.masterIfindex !== bridge.ifindex || device.port === undefined) {
    return { found: "no", problem: notAPort(nic) };
  }
  return { found: "yes", place: placeOf(nic, links, device, bridge.ifindex) };
}

/** The place of a device on a bridge, whether or not it is its port yet. */
export function placeOf(
  nic: TapOnBridgeNic,
  links: SeenLinks,
  device: Link,
  parentIfindex: number,
): NicPlace {
  const missingVlans = missingVlansOf(nic, device);
  return {
    deviceIfindex: device.ifindex,
    parentIfindex,
    ...overlayOf(nic, links),
    ...(missingVlans.length === 0 ? {} : { missingVlans }),
  };
}

/** Of a tap that is no port of any bridge, or gone: a place where only the NIC's VXLAN device can have something. */
export function placeOffBridges(nic: TapOnBridgeNic, links: SeenLinks, device: Link | undefined): NicPlace {
  return { deviceIfindex: device?.ifindex ?? 0, parentIfindex: 0, ...overlayOf(nic, links) };
}

function overlayOf({ vxlan }: TapOnBridgeNic, links: SeenLinks): Pick<NicPlace, "overlayIfindex"> {
  const overlay = vxlan === undefined ? undefined : links.get(vxlan.deviceName);
  return overlay?.vxlan === undefined ? {} : { overlayIfindex: overlay.ifindex };
}

/** Those of the definition that the port is not in, where the kernel told its VLANs. */
export function missingVlansOf({ vlans = [] }: TapOnBridgeNic, { portVlans }: Link): readonly number[] {
  return portVlans === undefined ? [] : vlans.filter((vlan) => !portVlans.includes(vlan));
}

/** Undefined where the NIC can be registered as its definition says. */
export function judgePlace(nic: TapOnBridgeNic, place: NicPlace): NicProblem | undefined {
  const problem = judgeVlans(nic, place);
  if (problem !== undefined) return problem;
  if (nic.vxlan !== undefined && place.overlayIfindex === undefined)
    return vxlanMissing(nic.vxlan.deviceName);
  return undefined;
}

/** Undefined where the port is in the definition's VLANs, as `prepare` has it. */
export function judgeVlans(nic: TapOnBridgeNic, { missingVlans }: NicPlace): NicProblem | undefined {
  return missingVlans === undefined ? undefined : vlanNotOnPort(nic, missingVlans);
}

export function vxlanMissing(deviceName: string): NicProblem {
  const sentence = `There is no VXLAN device ${deviceName}.`;
  return { reason: "VXLAN_MISSING", sentence, field: "tap_on_bridge.vxlan.device_name" };
}

export function bridgeMissing(nic: TapOnBridgeNic): NicProblem {
  return {
    reason: "BRIDGE_MISSING",
    sentence: `There is no bridge ${nic.bridge}.`,
    field: "tap_on_bridge.bridge",
  };
}
