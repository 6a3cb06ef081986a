import { type MacAddress, macAddressBytes, macAddressFromBytes } from "../../../proto/mac-address.ts";
import type { Link, LinkChange } from "../../netlink/link.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import { CREATED_ALIAS, originOf } from "../created-device.ts";
import type { DevicePreparation } from "../device.ts";
import { isSilent, notSilent } from "../device-link.ts";
import { addressesOf } from "../nic-identity.ts";
import { DEEDS } from "../request-deeds.ts";
import { linkOf } from "../route-answers.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { judgeRemoval, leadsHere, subject } from "./judge-registration.ts";
import { intoVlans } from "./mending.ts";
import { placeOf } from "./place.ts";
import { refusalsOf } from "./refusals.ts";
import { registrationsOf, removeRequest } from "./registrations.ts";
import { DEVICE_FIELD, judgePort, QUARANTINE_FLAGS, readBack, refused, splitReadBack } from "./state.ts";

/**
 * A bridge takes the lowest address among its ports: a high one keeps it from changing its own, and with it the
 * host's, when a tap comes or goes. Also locally administered, and so nobody's.
 */
const HIGH_FIRST_OCTET = 0xfe;

/** Makes a tap where there is none, and brings it, or the one that is there, onto the bridge in quarantine. */
export const tapOnBridgePreparation: DevicePreparation<TapOnBridgeNic> = {
  refusals: refusalsOf,

  creation: (nic, links) =>
    links.has(nic.deviceName) ? undefined : { by: "tun", deviceName: nic.deviceName },

  plan(nic, before, after) {
    const bridge = after.get(nic.bridge);
    const device = after.get(nic.deviceName);
    if (bridge === undefined || device === undefined) return [];
    const { ifindex } = device;
    const place = placeOf(nic, after, device, bridge.ifindex);
    const isPort = device.masterIfindex === bridge.ifindex;
    const change = quietChange(nic, device, bridge, before.has(nic.deviceName) ? "existing" : "created");
    return [
      ...(mustGoDown(device, isPort) ? [setLink(ifindex, { state: "down" })] : []),
      ...(Object.keys(change).length > 0 ? [setLink(ifindex, change)] : []),
      ...(isPort ? [] : [setLink(ifindex, { masterIfindex: bridge.ifindex })]),
      { op: "setBridgePort", ifindex, flags: QUARANTINE_FLAGS },
      ...(this.ownership(nic, before).port === "attached" ? intoVlans(nic, ifindex) : []),
      ...registrationsOf(nic, place).map((registration) => removeRequest(place, registration)),
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
    const place = placeOf(nic, after, device, bridge.ifindex);
    const registrations = registrationsOf(nic, place);
    const requests = this.plan(nic, before, after);
    const firstRead = requests.length - readBack(nic, place).length;
    const firstRemoval = firstRead - 1 - registrations.length;
    for (const [index, request] of requests.entries()) {
      const result = results[index];
      const registration = registrations[index - firstRemoval];
      if (registration !== undefined) {
        const problem = judgeRemoval(nic, registration, result);
        if (problem !== undefined) return problem;
      } else if (index < firstRead && result?.ok !== true) return refused(nic, DEEDS[request.op], result);
    }
    const { reads, port } = splitReadBack(results.slice(firstRead), registrations.length);
    const portProblem = judgePort(nic, place, port, QUARANTINE_FLAGS);
    if (portProblem !== undefined) return portProblem;
    const link = linkOf(port);
    const noise = link === undefined ? undefined : notSilent(link, DEVICE_FIELD);
    if (noise !== undefined) return noise;
    const left = registrations.find((registration, index) => leadsHere(place, registration, reads[index]));
    if (left !== undefined) {
      const sentence = `${subject(left)} still leads to ${nic.deviceName} itself.`;
      return { reason: "ADDRESS_IN_USE", sentence, field: left.field };
    }
    const own = addressesOf(nic).find(({ macAddress }) => macAddress === link?.macAddress);
    if (own !== undefined) {
      const sentence = `${own.macAddress} is still an address of ${nic.deviceName} itself.`;
      return { reason: "ADDRESS_IN_USE", sentence, field: own.field };
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
    const device = originOf(was);
    return {
      device,
      port: device === "created" || was?.masterIfindex === undefined ? "attached" : "existing",
    };
  },
};

/** An up device floods until it is quarantined, and keeps the IPv6 address that it has made: trap 8. */
function mustGoDown(device: Link, isPort: boolean): boolean {
  return device.state === "up" && (!isPort || !isSilent(device));
}

type Writable<Value> = { -readonly [Key in keyof Value]: Value[Key] };

/** What has to change before the device goes up. */
function quietChange(
  nic: TapOnBridgeNic,
  device: Link,
  bridge: Link,
  origin: "created" | "existing",
): LinkChange {
  const isPort = device.masterIfindex === bridge.ifindex;
  const own = device.macAddress;
  const guestAddresses = addressesOf(nic).map(({ macAddress }) => macAddress);
  const isLow = own !== undefined && macAddressBytes(own)[0] !== HIGH_FIRST_OCTET;
  const change: Writable<LinkChange> = {};
  if (own !== undefined && (guestAddresses.includes(own) || (!isPort && isLow)))
    change.macAddress = highAddress(own, guestAddresses);
  // A bridge shrinks to the smallest of its ports.
  if (origin === "created" && device.mtu !== bridge.mtu) change.mtu = bridge.mtu;
  if (origin === "created") change.alias = CREATED_ALIAS;
  if (!isSilent(device)) change.addrGenMode = "none";
  return change;
}

/** The device's own address with a high first octet, and in any case none of the guest's. */
function highAddress(own: MacAddress, guestAddresses: readonly MacAddress[]): MacAddress {
  const bytes = macAddressBytes(own);
  bytes[0] = HIGH_FIRST_OCTET;
  while (guestAddresses.includes(macAddressFromBytes(bytes))) bytes[5] = ((bytes[5] ?? 0) + 1) & 0xff;
  return macAddressFromBytes(bytes);
}

function setLink(ifindex: number, change: LinkChange): RouteRequest {
  return { op: "setLink", ifindex, change };
}
