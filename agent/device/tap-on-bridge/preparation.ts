import { type MacAddress, macAddressBytes, macAddressFromBytes } from "../../../proto/mac-address.ts";
import type { Link, LinkChange } from "../../netlink/link.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import { CREATED_ALIAS } from "../created-alias.ts";
import type { DevicePreparation, NicProblem, SeenLinks } from "../device.ts";
import { DEEDS } from "../request-deeds.ts";
import { isErrno, linkOf } from "../route-answers.ts";
import { isSilent, notATap, notSilent } from "../tap-link.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { DEVICE_FIELD, judgePort, pointsHere, QUARANTINE_FLAGS, readBack, refused } from "./state.ts";

/**
 * A bridge takes the lowest address among its ports: a high one keeps it from changing its own, and with it the
 * host's, when a tap comes or goes. Also locally administered, and so nobody's.
 */
const HIGH_FIRST_OCTET = 0xfe;

/** Makes a tap where there is none, and brings it, or the one that is there, onto the bridge in quarantine. */
export const tapOnBridgePreparation: DevicePreparation<TapOnBridgeNic> = {
  refusals(nic, links) {
    const ofBridge = bridgeProblem(nic, links);
    return [...(ofBridge === undefined ? [] : [ofBridge]), ...deviceProblems(nic, links)];
  },

  creation: (nic, links) =>
    links.has(nic.deviceName) ? undefined : { by: "tun", deviceName: nic.deviceName },

  plan(nic, before, after) {
    const bridge = after.get(nic.bridge);
    const device = after.get(nic.deviceName);
    if (bridge === undefined || device === undefined) return [];
    const { ifindex } = device;
    const place = { deviceIfindex: ifindex, parentIfindex: bridge.ifindex };
    const isPort = device.masterIfindex === bridge.ifindex;
    const change = quietChange(nic, device, bridge, before.has(nic.deviceName) ? "existing" : "created");
    return [
      ...(mustGoDown(device, isPort) ? [setLink(ifindex, { state: "down" })] : []),
      ...(Object.keys(change).length > 0 ? [setLink(ifindex, change)] : []),
      ...(isPort ? [] : [setLink(ifindex, { masterIfindex: bridge.ifindex })]),
      { op: "setBridgePort", ifindex, flags: QUARANTINE_FLAGS },
      { op: "deleteFdbEntry", ifindex, macAddress: nic.macAddress },
      setLink(ifindex, { state: "up" }),
      ...readBack(nic, place),
    ];
  },

  judge(nic, before, after, results) {
    const bridge = after.get(nic.bridge);
    const device = after.get(nic.deviceName);
    if (bridge === undefined || device === undefined) {
      return {
        reason: "DEVICE_MISSING",
        sentence: `${nic.deviceName} or ${nic.bridge} vanished.`,
        field: DEVICE_FIELD,
      };
    }
    const requests = this.plan(nic, before, after);
    for (const [index, request] of requests.entries()) {
      const result = results[index];
      if (result?.ok === true || isErrno(result, "ENOENT")) continue;
      return refused(nic, DEEDS[request.op], result);
    }
    const [entry, port] = results.slice(-2);
    const place = { deviceIfindex: device.ifindex, parentIfindex: bridge.ifindex };
    const portProblem = judgePort(nic, place, port, QUARANTINE_FLAGS);
    if (portProblem !== undefined) return portProblem;
    const link = linkOf(port);
    const noise = link === undefined ? undefined : notSilent(link, DEVICE_FIELD);
    if (noise !== undefined) return noise;
    if (pointsHere(place, entry) || link?.macAddress === nic.macAddress) {
      return {
        reason: "ADDRESS_IN_USE",
        sentence: `${nic.macAddress} is still an address of ${nic.deviceName} itself.`,
        field: "mac_address",
      };
    }
    return undefined;
  },

  undo(nic, before, after) {
    const device = after.get(nic.deviceName);
    const bridge = after.get(nic.bridge);
    if (device === undefined) return [];
    const { ifindex } = device;
    const was = before.get(nic.deviceName);
    if (was === undefined) return [{ op: "deleteLink", ifindex }];
    const wasPort = bridge !== undefined && was.masterIfindex === bridge.ifindex;
    const restore: LinkChange = {
      ...(was.macAddress === undefined ? {} : { macAddress: was.macAddress }),
      ...(was.addrGenMode === "eui64" ? { addrGenMode: "eui64" as const } : {}),
    };
    return [
      ...(was.state === "down" || mustGoDown(was, wasPort) ? [setLink(ifindex, { state: "down" })] : []),
      wasPort && was.port !== undefined
        ? { op: "setBridgePort", ifindex, flags: was.port }
        : setLink(ifindex, { masterIfindex: 0 }),
      setLink(ifindex, restore),
      ...(was.state === "up" ? [setLink(ifindex, { state: "up" })] : []),
    ];
  },

  ownership(nic, before) {
    const was = before.get(nic.deviceName);
    if (was === undefined || was.alias === CREATED_ALIAS) return { device: "created", port: "attached" };
    return { device: "existing", port: was.masterIfindex === undefined ? "attached" : "existing" };
  },
};

export function bridgeMissing(nic: TapOnBridgeNic): NicProblem {
  return {
    reason: "BRIDGE_MISSING",
    sentence: `There is no bridge ${nic.bridge}.`,
    field: "tap_on_bridge.bridge",
  };
}

function bridgeProblem(nic: TapOnBridgeNic, links: SeenLinks): NicProblem | undefined {
  const bridge = links.get(nic.bridge);
  const field = "tap_on_bridge.bridge";
  if (bridge === undefined) return bridgeMissing(nic);
  if (bridge.kind !== "bridge") {
    return { reason: "NOT_A_BRIDGE", sentence: `${nic.bridge} is not a bridge.`, field };
  }
  if (bridge.state !== "up") return { reason: "BRIDGE_DOWN", sentence: `${nic.bridge} is down.`, field };
  if (bridge.vlanFiltering === "on") {
    const sentence = `${nic.bridge} filters VLANs: an entry without a VLAN would not reach the guest.`;
    return { reason: "BRIDGE_VLAN_AWARE", sentence, field };
  }
  if (bridge.macAddress === nic.macAddress) {
    const sentence = `${nic.macAddress} is the address of ${nic.bridge} itself.`;
    return { reason: "MAC_OF_BRIDGE", sentence, field: "mac_address" };
  }
  return undefined;
}

function deviceProblems(nic: TapOnBridgeNic, links: SeenLinks): NicProblem[] {
  const device = links.get(nic.deviceName);
  if (device === undefined) return [];
  const otherKind = notATap(device, nic.deviceName, DEVICE_FIELD);
  if (otherKind !== undefined) return [otherKind];
  if (device.masterIfindex !== undefined && device.masterIfindex !== links.get(nic.bridge)?.ifindex) {
    const sentence = `${nic.deviceName} is a port of ifindex ${device.masterIfindex}, not of ${nic.bridge}.`;
    return [{ reason: "PORT_OF_ANOTHER", sentence, field: DEVICE_FIELD }];
  }
  return [];
}

/** An up device floods until it is quarantined, and keeps the IPv6 address that it has made: trap 8. */
function mustGoDown(device: Link, isPort: boolean): boolean {
  return device.state === "up" && (!isPort || !isSilent(device));
}

/** What has to change before the device goes up. */
function quietChange(
  nic: TapOnBridgeNic,
  device: Link,
  bridge: Link,
  origin: "created" | "existing",
): LinkChange {
  const isPort = device.masterIfindex === bridge.ifindex;
  const own = device.macAddress;
  const isLow = own !== undefined && macAddressBytes(own)[0] !== HIGH_FIRST_OCTET;
  return {
    ...(own !== undefined && (own === nic.macAddress || (!isPort && isLow))
      ? { macAddress: highAddress(own, nic.macAddress) }
      : {}),
    // A bridge shrinks to the smallest of its ports.
    ...(origin === "created" && device.mtu !== bridge.mtu ? { mtu: bridge.mtu } : {}),
    ...(origin === "created" ? { alias: CREATED_ALIAS } : {}),
    ...(isSilent(device) ? {} : { addrGenMode: "none" as const }),
  };
}

/** The device's own address with a high first octet, and in any case not the guest's. */
function highAddress(own: MacAddress, guest: MacAddress): MacAddress {
  const bytes = macAddressBytes(own);
  bytes[0] = HIGH_FIRST_OCTET;
  if (macAddressFromBytes(bytes) === guest) bytes[5] = (bytes[5] ?? 0) ^ 0xff;
  return macAddressFromBytes(bytes);
}

function setLink(ifindex: number, change: LinkChange): RouteRequest {
  return { op: "setLink", ifindex, change };
}
