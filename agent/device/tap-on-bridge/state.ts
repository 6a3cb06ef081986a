import type { BridgePortFlags, Link } from "../../netlink/link.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicPlace, NicProblem } from "../device.ts";
import { recreated } from "../device-link.ts";
import { linkOf, refusedBy } from "../route-answers.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { readRequest, registrationsOf } from "./registrations.ts";

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

/** Reads back what decides where the guest's frames go: the registrations, the bridge where it matters, the port. */
export function readBack(nic: TapOnBridgeNic, place: NicPlace): readonly RouteRequest[] {
  return [
    ...registrationsOf(nic, place).map((registration) => readRequest(place, registration)),
    ...(nic.multicastGroups === undefined && nic.vlans === undefined
      ? []
      : [{ op: "getLink", name: nic.bridge } as const]),
    { op: "getLink", name: nic.deviceName },
  ];
}

/** The answers to `readBack`. */
export interface ReadBack {
  /** One a registration, in their order. */
  readonly reads: readonly (RouteResult | undefined)[];
  /** Undefined where it was not asked for, or is gone. */
  readonly bridge: Link | undefined;
  readonly port: RouteResult | undefined;
}

export function splitReadBack(results: readonly RouteResult[], registrations: number): ReadBack {
  const reads = results.slice(0, registrations);
  const links = results.slice(registrations);
  return {
    reads,
    bridge: links.length > 1 ? linkOf(links[0]) : undefined,
    port: links.at(-1),
  };
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

/** Undefined where the bridge was not asked for, or the NIC's VLANs mean something to it. */
export function judgeBridge(nic: TapOnBridgeNic, bridge: Link | undefined): NicProblem | undefined {
  return nic.vlans !== undefined && bridge?.vlanFiltering === "off" ? bridgeNotVlanAware(nic) : undefined;
}

export function bridgeNotVlanAware({ bridge }: TapOnBridgeNic): NicProblem {
  const sentence = `${bridge} does not filter VLANs: an entry in one would reach nobody.`;
  return { reason: "BRIDGE_NOT_VLAN_AWARE", sentence, field: "tap_on_bridge.vlans" };
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
