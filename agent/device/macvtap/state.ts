import type { Link } from "../../netlink/link.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace, NicProblem } from "../device.ts";
import { recreated } from "../device-link.ts";
import { linkOf, refusedBy } from "../route-answers.ts";
import type { MacvtapNic } from "./definition.ts";

export const DEVICE_FIELD = "macvtap.device_name";
export const PARENT_FIELD = "macvtap.parent";

/**
 * A macvtap works only while its parent does, so the parent comes up with it, and one that is up is not touched (R4). Where
 * the parent carries the guest's own address it goes down with it, and only there: other macvtaps, and the host, use it
 * in every other mode (R5).
 */
export function isExclusive(nic: MacvtapNic): boolean {
  return nic.mode === "passthrough";
}

/**
 * Takes the address from a macvtap that shares its parent, at once: in source mode it gets the frames of listed senders,
 * and none is listed. To set it down has the kernel wait out two grace periods, the second of them after that.
 */
export function hush(nic: MacvtapNic, ifindex: number): readonly RouteRequest[] {
  return isExclusive(nic) ? [] : [{ op: "setMacvtapMode", ifindex, mode: "source" }];
}

/** Ends `hush`, of a macvtap that is down or is to get its frames. */
export function unhush(nic: MacvtapNic, ifindex: number): readonly RouteRequest[] {
  return isExclusive(nic) ? [] : [{ op: "setMacvtapMode", ifindex, mode: nic.mode }];
}

/** Reads back what decides whether the guest's frames reach it: the macvtap, then its parent. */
export function readBack(nic: MacvtapNic): readonly RouteRequest[] {
  return [
    { op: "getLink", name: nic.deviceName },
    { op: "getLink", name: nic.parent },
  ];
}

/** What keeps the address from being registered: undefined where macvtap and parent are up. The carrier is the wire's. */
export function judgeOnline(
  nic: MacvtapNic,
  place: NicPlace,
  device: RouteResult | undefined,
  parent: RouteResult | undefined,
): NicProblem | undefined {
  const problem = judgeIdentity(nic, place, device) ?? judgeMode(nic, linkOf(device));
  if (problem !== undefined) return problem;
  if (linkOf(device)?.state !== "up") {
    return { reason: "DEVICE_DOWN", sentence: `${nic.deviceName} is down.`, field: DEVICE_FIELD };
  }
  const below = linkOf(parent);
  if (below === undefined) return parentRefused(nic, "read back", parent);
  if (below.state === "up") return undefined;
  const sentence = `${nic.deviceName} is up and cannot work: its parent ${nic.parent} is down.`;
  return { reason: "PARENT_DOWN", sentence, field: PARENT_FIELD };
}

/** What keeps the address from being deregistered: undefined where the macvtap is down, and an exclusive parent too. */
export function judgeOffline(
  nic: MacvtapNic,
  place: NicPlace,
  device: RouteResult | undefined,
  parent: RouteResult | undefined,
): NicProblem | undefined {
  const problem = judgeIdentity(nic, place, device);
  if (problem !== undefined) return problem;
  if (linkOf(device)?.state !== "down") {
    const sentence = `${nic.deviceName} is up, and its guest does not run.`;
    return { reason: "UNWANTED_REGISTRATION", sentence, field: DEVICE_FIELD };
  }
  if (!isExclusive(nic) || linkOf(parent)?.state !== "up") return undefined;
  const sentence = `${nic.parent} has the guest's address and is up, and the guest does not run.`;
  return { reason: "UNWANTED_REGISTRATION", sentence, field: PARENT_FIELD };
}

function judgeIdentity(
  nic: MacvtapNic,
  place: NicPlace,
  device: RouteResult | undefined,
): NicProblem | undefined {
  const link = linkOf(device);
  if (link === undefined) return refused(nic, "read back", device);
  const another = recreated(link, place, DEVICE_FIELD);
  if (another !== undefined || link.macAddress === nic.macAddress) return another;
  const sentence = `${nic.deviceName} has the address ${link.macAddress ?? "of no guest"}, not ${nic.macAddress}.`;
  return { reason: "ADDRESS_DIFFERS", sentence, field: "mac_address" };
}

export function refused(nic: MacvtapNic, deed: string, result: RouteResult | undefined): NicProblem {
  return refusedBy(nic.deviceName, DEVICE_FIELD, deed, result);
}

export function parentRefused(nic: MacvtapNic, deed: string, result: RouteResult | undefined): NicProblem {
  return refusedBy(nic.parent, PARENT_FIELD, deed, result);
}

export function parentMissing(nic: MacvtapNic): NicProblem {
  return { reason: "PARENT_MISSING", sentence: `There is no device ${nic.parent}.`, field: PARENT_FIELD };
}

/** Undefined where the device is a macvtap of the definition's parent and mode, or is hushed. */
export function misfitOf(nic: MacvtapNic, device: Link, parent: Link): NicProblem | undefined {
  if (device.kind !== "macvtap") {
    const sentence = `${nic.deviceName} exists and is not a macvtap.`;
    return { reason: "NOT_A_MACVTAP", sentence, field: DEVICE_FIELD };
  }
  if (device.parentIfindex !== parent.ifindex) {
    return {
      reason: "OTHER_PARENT",
      sentence: `${nic.deviceName} is not a macvtap of ${nic.parent}.`,
      field: DEVICE_FIELD,
    };
  }
  return isHushed(nic, device) ? undefined : judgeMode(nic, device);
}

/** Whether a stop was begun whose rest has not come. */
export function isHushed(nic: MacvtapNic, device: Link): boolean {
  return !isExclusive(nic) && device.macvlanMode === "source";
}

function judgeMode(nic: MacvtapNic, device: Link | undefined): NicProblem | undefined {
  if (device?.macvlanMode === nic.mode) return undefined;
  const sentence = `${nic.deviceName} is in ${device?.macvlanMode ?? "no known"} mode, not ${nic.mode}.`;
  return { reason: "OTHER_MODE", sentence, field: "macvtap.mode" };
}
