/**
 * What every device of a guest is judged by, whatever it is wired to. `field` is the path of the device's name in the
 * NIC's definition.
 */
import type { Link } from "../netlink/link.ts";
import type { NicPlace, NicProblem } from "./device.ts";

/** Undefined where there is no such device yet, or it is a tap. */
export function notATap(device: Link | undefined, deviceName: string, field: string): NicProblem | undefined {
  if (device === undefined || (device.kind === "tun" && device.tunMode === "tap")) return undefined;
  return { reason: "NOT_A_TAP", sentence: `${deviceName} exists and is not a tap.`, field };
}

/** Whether the host sends nothing by itself on the device when it comes up: trap 8. */
export function isSilent(device: Link): boolean {
  return device.addrGenMode === undefined || device.addrGenMode === "none";
}

/** Whether the device takes an IPv6 address, or a route by it. */
export function takesIpv6({ addrGenMode, ipv6 }: Link): boolean {
  return addrGenMode !== undefined && ipv6 !== "disabled";
}

export function notSilent(device: Link, field: string): NicProblem | undefined {
  if (isSilent(device)) return undefined;
  const sentence = `The host would send frames by itself on ${device.name}: its addrgenmode is ${device.addrGenMode}.`;
  return { reason: "ADDR_GEN_MODE", sentence, field };
}

/** Undefined where the device is the one that was found at `place`. */
export function recreated(device: Link, place: NicPlace, field: string): NicProblem | undefined {
  if (device.ifindex === place.deviceIfindex) return undefined;
  const sentence = `${device.name} is another device now (ifindex ${device.ifindex}, was ${place.deviceIfindex}).`;
  return { reason: "DEVICE_RECREATED", sentence, field };
}

export function deviceMissing(deviceName: string, field: string): NicProblem {
  return { reason: "DEVICE_MISSING", sentence: `There is no device ${deviceName}.`, field };
}
