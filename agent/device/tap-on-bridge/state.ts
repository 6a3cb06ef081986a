import type { BridgePortFlags } from "../../netlink/link.ts";
import type { FdbEntry } from "../../netlink/neighbour.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace, NicProblem } from "../device.ts";
import { isErrno, linkOf, refusedBy } from "../route-answers.ts";
import { recreated } from "../tap-link.ts";
import type { TapOnBridgeNic } from "./definition.ts";

export const DEVICE_FIELD = "tap_on_bridge.device_name";

/** Nothing is flooded to the guest and nothing is learned from it: trap 9. */
export const QUARANTINE_FLAGS: BridgePortFlags = {
  learning: "off",
  unicastFlood: "off",
  multicastFlood: "off",
  broadcastFlood: "off",
};

/** What a port does by the kernel's own default, and for a guest whose address the kernel manages. */
export const KERNEL_FLAGS: BridgePortFlags = {
  learning: "on",
  unicastFlood: "on",
  multicastFlood: "on",
  broadcastFlood: "on",
};

/** For a guest that we register: its address is never learned, so no unknown unicast is its own. */
const REGISTERED_FLAGS: BridgePortFlags = {
  learning: "off",
  unicastFlood: "off",
  multicastFlood: "on",
  broadcastFlood: "on",
};

/** What the port does while the guest's CPUs run. */
export function runningFlags(nic: TapOnBridgeNic): BridgePortFlags {
  return nic.macTableManager === "switchover" ? REGISTERED_FLAGS : KERNEL_FLAGS;
}

/** Reads back what decides where the guest's frames go: the bridge's entry, then the port. */
export function readBack(nic: TapOnBridgeNic, place: NicPlace): readonly RouteRequest[] {
  return [
    { op: "getFdbEntry", bridgeIfindex: place.parentIfindex, macAddress: nic.macAddress },
    { op: "getLink", name: nic.deviceName },
  ];
}

/** Undefined where the device is up, is still this one and still the bridge's, and has the flags. */
export function judgePort(
  nic: TapOnBridgeNic,
  place: NicPlace,
  result: RouteResult | undefined,
  flags: BridgePortFlags,
): NicProblem | undefined {
  const link = linkOf(result);
  if (link === undefined) return refused(nic, "read back", result);
  const otherDevice = recreated(link, place, DEVICE_FIELD);
  if (otherDevice !== undefined) return otherDevice;
  if (link.masterIfindex !== place.parentIfindex || link.port === undefined) return notAPort(nic);
  if (link.state !== "up") {
    return {
      reason: "DEVICE_DOWN",
      sentence: `${nic.deviceName} is down.`,
      field: DEVICE_FIELD,
    };
  }
  for (const flag of Object.keys(flags) as (keyof BridgePortFlags)[]) {
    if (link.port[flag] === flags[flag]) continue;
    return {
      reason: "PORT_FLAGS_DIFFER",
      sentence: `${flag} is ${link.port[flag]} on ${nic.deviceName}, and should be ${flags[flag]}.`,
      field: DEVICE_FIELD,
    };
  }
  return undefined;
}

/** Undefined where the bridge delivers the guest's frames to this port, or will as soon as the guest speaks. */
export function judgeRegistration(
  nic: TapOnBridgeNic,
  place: NicPlace,
  result: RouteResult | undefined,
): NicProblem | undefined {
  const entry = entryOf(result);
  const field = "mac_address";
  if (nic.macTableManager === "kernel") {
    if (entry === undefined) return isErrno(result, "ENOENT") ? undefined : refused(nic, "read back", result);
    if (entry.state === "dynamic") return undefined;
    if (entry.ifindex === place.deviceIfindex) {
      const sentence = `${nic.macAddress} is ${entry.state} on ${nic.deviceName}, where the kernel should learn it.`;
      return { reason: "UNWANTED_REGISTRATION", sentence, field };
    }
    if (entry.state === "static" && entry.sticky === "plain") return undefined;
    const sentence = `${nic.macAddress} is held by ifindex ${entry.ifindex} of ${nic.bridge}, and cannot be learned.`;
    return { reason: "REGISTERED_ELSEWHERE", sentence, field };
  }
  if (entry === undefined) {
    if (!isErrno(result, "ENOENT")) return refused(nic, "read back", result);
    const sentence = `${nic.macAddress} is not registered on ${nic.bridge}.`;
    return { reason: "NOT_REGISTERED", sentence, field };
  }
  if (entry.ifindex !== place.deviceIfindex) {
    const sentence = `${nic.macAddress} is registered on ifindex ${entry.ifindex} of ${nic.bridge}, not on ${nic.deviceName}.`;
    return { reason: "REGISTERED_ELSEWHERE", sentence, field };
  }
  if (entry.state !== "static" || entry.sticky !== nic.sticky) {
    const sentence = `${nic.macAddress} is ${entry.state} and ${entry.sticky} on ${nic.deviceName}, and should be static and ${nic.sticky}.`;
    return { reason: "REGISTRATION_DIFFERS", sentence, field };
  }
  return undefined;
}

/** Undefined where the bridge delivers the guest's frames elsewhere or nowhere. */
export function judgeAbsence(
  nic: TapOnBridgeNic,
  place: NicPlace,
  result: RouteResult | undefined,
): NicProblem | undefined {
  if (!pointsHere(place, result)) return undefined;
  const sentence = `${nic.macAddress} is registered on ${nic.deviceName}, whose guest does not run.`;
  return { reason: "UNWANTED_REGISTRATION", sentence, field: "mac_address" };
}

/** Whether the bridge delivers the guest's frames to this port. */
export function pointsHere(place: NicPlace, result: RouteResult | undefined): boolean {
  return entryOf(result)?.ifindex === place.deviceIfindex;
}

export function entryOf(result: RouteResult | undefined): FdbEntry | undefined {
  const message = result?.ok === true ? result.messages[0] : undefined;
  return message?.type === "fdbEntry" ? message.entry : undefined;
}

export function notAPort(nic: TapOnBridgeNic): NicProblem {
  return {
    reason: "NOT_A_PORT",
    sentence: `${nic.deviceName} is not a port of ${nic.bridge}.`,
    field: DEVICE_FIELD,
  };
}

export function refused(nic: TapOnBridgeNic, deed: string, result: RouteResult | undefined): NicProblem {
  return refusedBy(nic.deviceName, DEVICE_FIELD, deed, result);
}
