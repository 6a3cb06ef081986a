import type { Link } from "../../netlink/link.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import { isToBeDeleted } from "../created-device.ts";
import type {
  DeviceOwnership,
  DeviceType,
  Located,
  NicPlace,
  SeenLinks,
  StartOutcome,
  StopOutcome,
  VerifyOutcome,
} from "../device.ts";
import { deviceMissing } from "../device-link.ts";
import { verifyOutcome } from "../outcome.ts";
import { doneOrGone, isErrno } from "../route-answers.ts";
import { characterDeviceOf, checkMacvtap, type MacvtapNic } from "./definition.ts";
import { macvtapMending } from "./mending.ts";
import { isMarked, restoreParent, stackedOn, unmarkParent } from "./parent.ts";
import { macvtapPreparation } from "./preparation.ts";
import {
  DEVICE_FIELD,
  hush,
  isExclusive,
  isHushed,
  judgeOffline,
  judgeOnline,
  misfitOf,
  parentMissing,
  parentRefused,
  readBack,
  refused,
  unhush,
} from "./state.ts";

/** What the kernel says of a macvtap that vanished, as it does with its parent: trap 4. */
const GONE = ["ENODEV"] as const;
/** And of a parent without the mark. */
const UNMARKED = ["ENODEV", "ENOENT"] as const;

/**
 * A macvtap. Its registration is that it is up: the parent then takes in frames for its address. Two of one address on one
 * parent cannot both be up (EADDRINUSE, trap 7).
 */
export const macvtap: DeviceType<MacvtapNic> = {
  type: "macvtap",
  field: "macvtap",
  extras: [],
  check: checkMacvtap,
  deviceName: (nic) => nic.deviceName,
  segment: (nic) => nic.parent,
  segmentUse: (nic) => ({ field: "parent", by: isExclusive(nic) ? "oneNic" : "many" }),
  characterDevice: characterDeviceOf,

  stands: "onAnother",
  linkNames: (nic) => [nic.parent, nic.deviceName],

  // What is sent on the parent leaves by the wire alone: neither this macvtap nor its siblings hear it.
  announceOn: (nic, links) =>
    links
      .filter(({ name, state }) => name === nic.parent && state === "up")
      .map(({ ifindex }) => ({ ifindex })),

  locate,

  strayed(nic, device, parent) {
    if (device?.kind !== "macvtap") return undefined;
    // The kernel neither makes a macvtap one in passthrough nor ends that; of a parent that is elsewhere nothing is known.
    const mode = device.macvlanMode === "passthrough" && parent !== undefined ? "passthrough" : "private";
    return {
      nic: { ...nic, deviceName: device.name, parent: parent?.name ?? nic.parent, mode },
      place: { deviceIfindex: device.ifindex, parentIfindex: parent?.ifindex ?? 0 },
    };
  },

  prepare: macvtapPreparation,

  start: {
    // The kernel does nothing to a parent that is up, so it need not be looked at first.
    plan: (nic, place) => [
      { op: "setLink", ifindex: place.parentIfindex, change: { state: "up" } },
      { op: "setLink", ifindex: place.deviceIfindex, change: { state: "up" } },
      ...readBack(nic),
    ],
    judge(nic, place, [parentUp, deviceUp, device, parent]): StartOutcome {
      const problem =
        (parentUp?.ok === true ? undefined : parentRefused(nic, "raise", parentUp)) ??
        (deviceUp?.ok === true ? undefined : raiseRefused(nic, deviceUp)) ??
        judgeOnline(nic, place, device, parent);
      return problem === undefined ? { result: "started" } : { result: "failed", problem };
    },
  },

  stop: {
    plan: takeOffline,
    judge(nic, _place, results): StopOutcome {
      const [parent] = results;
      const device = results.at(-1);
      const problem =
        (doneOrGone(device, GONE) ? undefined : refused(nic, "take down", device)) ??
        (!isExclusive(nic) || doneOrGone(parent, GONE) ? undefined : parentRefused(nic, "take down", parent));
      if (problem !== undefined) return { result: "failed", problem };
      return device?.ok === true ? { result: "removed" } : { result: "alreadyGone" };
    },
  },

  // The kernel waits out two grace periods of each macvtap that goes down, and one of a parent, all with its rtnl lock held.
  deregister: {
    takes: (nic) => (isExclusive(nic) ? "gracePeriods" : "noTime"),
    plan: (nic, place) =>
      isExclusive(nic) ? [takeDown(place.parentIfindex)] : hush(nic, place.deviceIfindex),
    judge(nic, _place, [result]): StopOutcome {
      if (result?.ok === true) return { result: "removed" };
      if (doneOrGone(result, GONE)) return { result: "alreadyGone" };
      const problem = (isExclusive(nic) ? parentRefused : refused)(nic, "take down", result);
      return { result: "failed", problem };
    },
    rest: (nic, place) => [...takeOffline(nic, place), ...unhush(nic, place.deviceIfindex)],
  },

  verify: {
    plan: readBack,
    judge(nic, place, [device, parent]): VerifyOutcome {
      return verifyOutcome([judgeOnline(nic, place, device, parent)], () => [
        judgeOffline(nic, place, device, parent),
      ]);
    },
  },

  mend: macvtapMending,

  release: {
    survey(nic, links, ownership, device) {
      const parent = links.get(nic.parent);
      const link = links.get(nic.deviceName);
      if (parent === undefined) return undefined;
      const isOurs = link !== undefined && isToBeDeleted(link, ownership, device);
      if (!isExclusive(nic)) {
        return isMarked(parent) && (isOurs || link === undefined) ? { kind: "macvtap" } : undefined;
      }
      // Only what stands on the parent by now keeps it from being set down.
      const goesDown = parent.state === "up" && ownership.parent?.state === "down";
      return goesDown && !isOurs && locate(nic, links).found === "no" ? {} : undefined;
    },
    plan(nic, links, ownership, device, around) {
      const link = links.get(nic.deviceName);
      const parent = links.get(nic.parent);
      const isOurs = link !== undefined && isToBeDeleted(link, ownership, device);
      const isThere = locate(nic, links).found === "yes";
      return [
        ...(link === undefined || !(isOurs || isThere) ? [] : [takeDown(link.ifindex)]),
        ...(link !== undefined && isThere && isHushed(nic, link) ? unhush(nic, link.ifindex) : []),
        ...(link !== undefined && isOurs ? [{ op: "deleteLink", ifindex: link.ifindex } as const] : []),
        ...(parent === undefined || around === "unknown"
          ? []
          : releaseParent(nic, parent, links, ownership, isOurs, isThere)),
      ];
    },
    judge(nic, links, requests, results) {
      const failed = requests.findIndex(
        (request, index) => !doneOrGone(results[index], request.op === "setAltName" ? UNMARKED : GONE),
      );
      const request = requests[failed];
      if (request === undefined) return undefined;
      const isOfParent = "ifindex" in request && request.ifindex === links.get(nic.parent)?.ifindex;
      return (isOfParent ? parentRefused : refused)(nic, "release", results[failed]);
    },
  },
};

/**
 * A parent that has the guest's address is down at once, the macvtap only after a grace period. Nothing is read back, which
 * would take as long again: the ack of a device that was asked to be down says that it is.
 */
function takeOffline(nic: MacvtapNic, { deviceIfindex, parentIfindex }: NicPlace): readonly RouteRequest[] {
  return [...(isExclusive(nic) ? [takeDown(parentIfindex)] : []), takeDown(deviceIfindex)];
}

function takeDown(ifindex: number): RouteRequest {
  return { op: "setLink", ifindex, change: { state: "down" } };
}

/** Others may have deleted the macvtap, and somebody else may stand on its parent since: then that is not touched. */
function releaseParent(
  nic: MacvtapNic,
  parent: Link,
  links: SeenLinks,
  ownership: DeviceOwnership,
  isOurs: boolean,
  isThere: boolean,
): readonly RouteRequest[] {
  if (!isExclusive(nic)) {
    return isOurs || !links.has(nic.deviceName) ? unmarkParent(nic, parent, links) : [];
  }
  const isFree = isOurs || isThere || stackedOn(parent, links).length === 0;
  return isFree ? restoreParent(parent, ownership.parent) : [];
}

function raiseRefused(nic: MacvtapNic, result: RouteResult | undefined) {
  if (!isErrno(result, "EADDRINUSE")) return refused(nic, "raise", result);
  const sentence = `${nic.macAddress} is the address of another device of ${nic.parent} that is up.`;
  return { reason: "MAC_IN_USE", sentence, field: "mac_address" };
}

function locate(nic: MacvtapNic, links: SeenLinks): Located {
  const parent = links.get(nic.parent);
  const device = links.get(nic.deviceName);
  if (parent === undefined) return { found: "no", problem: parentMissing(nic) };
  if (device === undefined) return { found: "no", problem: deviceMissing(nic.deviceName, DEVICE_FIELD) };
  const misfit = misfitOf(nic, device, parent);
  if (misfit !== undefined) return { found: "no", problem: misfit };
  return { found: "yes", place: { deviceIfindex: device.ifindex, parentIfindex: parent.ifindex } };
}
