import type { RouteResult } from "../../netlink/route-port.ts";
import { isToBeDeleted } from "../created-device.ts";
import type {
  DeviceType,
  NicPlace,
  NicProblem,
  SeenLinks,
  StartOutcome,
  StopOutcome,
  VerifyOutcome,
} from "../device.ts";
import { notRemoved, verifyOutcome } from "../outcome.ts";
import { doneOrGone } from "../route-answers.ts";
import { announceOnUplinks } from "./announcing.ts";
import { checkTapOnBridge, type TapOnBridgeNic } from "./definition.ts";
import {
  entryOf,
  judgeAbsence,
  judgeAddition,
  judgePresence,
  judgeRemoval,
  leadsHere,
  subject,
} from "./judge-registration.ts";
import { flushRequests, inLostVlans, wasInLostVlans } from "./lost-vlans.ts";
import { tapOnBridgeMending } from "./mending.ts";
import { judgePlace, judgeVlans, locate, placeOf, placeOffBridges } from "./place.ts";
import { tapOnBridgePreparation } from "./preparation.ts";
import { addRequest, isOffBridges, readRequest, registrationsOf, removeRequest } from "./registrations.ts";
import {
  judgeBridge,
  judgePort,
  KERNEL_FLAGS,
  QUARANTINE_FLAGS,
  readBack,
  refused,
  runningFlags,
  splitReadBack,
} from "./state.ts";

/** What the kernel says of a device that vanished (ENODEV) or left its bridge (EOPNOTSUPP): trap 4. */
const GONE = ["ENODEV", "EOPNOTSUPP"] as const;

/**
 * A tap on a bridge. Its registration is a forwarding entry `static sticky` (or plain `static`, by policy) on a
 * bridge that Switchover manages, and leave to learn and to be flooded on one that the kernel manages. What else the
 * definition asks for goes with it, in the same batch (`registrations.ts`).
 */
export const tapOnBridge: DeviceType<TapOnBridgeNic> = {
  type: "tapOnBridge",
  field: "tap_on_bridge",
  extras: ["additional_mac_addresses"],
  check: checkTapOnBridge,
  deviceName: (nic) => nic.deviceName,
  segment: (nic) => nic.bridge,
  segmentUse: () => ({ field: "bridge", by: "many" }),

  stands: "byItself",
  linkNames: ({ bridge, deviceName, vxlan }) => [
    bridge,
    deviceName,
    ...(vxlan === undefined ? [] : [vxlan.deviceName]),
  ],
  vlanPort({ bridge, deviceName, vlans }, links) {
    const master = links.get(bridge);
    const isFiltered = master !== undefined && master.vlanFiltering === "on";
    return vlans !== undefined && isFiltered && links.get(deviceName)?.masterIfindex === master.ifindex
      ? deviceName
      : undefined;
  },
  hostwide: ({ vxlan }) => (vxlan === undefined ? undefined : { device: vxlan.deviceName, field: "vxlan" }),
  multicastGroups: ({ multicastGroups = [] }) => multicastGroups,

  announceOn: announceOnUplinks,

  locate,

  strayed(nic, device, bridge, links) {
    if (device?.masterIfindex === undefined || bridge?.kind !== "bridge") {
      const place = placeOffBridges(nic, links, device);
      return registrationsOf(nic, place).length === 0 ? undefined : { nic, place };
    }
    const found = { ...nic, deviceName: device.name, bridge: bridge.name };
    return { nic: found, place: placeOf(found, links, device, bridge.ifindex) };
  },

  prepare: tapOnBridgePreparation,

  start: {
    plan: (nic, place) => [
      { op: "setBridgePort", ifindex: place.deviceIfindex, flags: runningFlags(nic) },
      ...registrationsOf(nic, place).map((registration) => addRequest(nic, place, registration)),
      ...readBack(nic, place),
    ],
    judge(nic, place, [port, ...results]): StartOutcome {
      const registrations = registrationsOf(nic, place);
      const { bridge } = splitReadBack(results.slice(registrations.length), registrations.length);
      const additions = registrations.map((registration, index) =>
        judgeAddition(nic, registration, results[index], bridge?.multicastSnooping),
      );
      const problem =
        (port?.ok === true ? undefined : refused(nic, "set the port flags of", port)) ??
        additions.find((found) => found !== undefined) ??
        problemsOf(nic, place, results.slice(registrations.length))[0];
      return problem === undefined ? { result: "started" } : { result: "failed", problem };
    },
  },

  stop: {
    // Learning goes off first: a frame that is still on its way must not bring back what is removed.
    plan(nic, place) {
      const registrations = registrationsOf(nic, place);
      return [
        { op: "setBridgePort", ifindex: place.deviceIfindex, flags: QUARANTINE_FLAGS },
        ...registrations.map((registration) => removeRequest(place, registration)),
        ...flushRequests(place, registrations),
        ...registrations.map((registration) => readRequest(place, registration)),
      ];
    },
    judge(nic, place, [port, ...results]): StopOutcome {
      const registrations = registrationsOf(nic, place);
      const removals = results.slice(0, registrations.length);
      const firstRead = registrations.length + flushRequests(place, registrations).length;
      const flushes = results.slice(registrations.length, firstRead);
      const reads = results.slice(firstRead);
      for (const [index, registration] of registrations.entries()) {
        const problem = leadsHere(place, registration, reads[index])
          ? stillRegistered(nic, subject(registration), registration.field)
          : judgeRemoval(nic, registration, removals[index]);
        if (problem !== undefined) return { result: "failed", problem };
      }
      if (!doneOrGone(port, GONE)) {
        return { result: "failed", problem: refused(nic, "quarantine", port) };
      }
      const elsewhere = registrations.map(({ kind }, index) =>
        kind === "address" ? entryOf(reads[index])?.ifindex : undefined,
      );
      // A VXLAN device acknowledges also what it does not remove; a bridge that can filter VLANs also that it has removed
      // no more than the copies in the port's VLANs, of an entry that is on another port by now.
      const isRemoved =
        wasInLostVlans(place, registrations, flushes) ||
        registrations.some(
          ({ kind }, index) =>
            kind !== "vxlan" && removals[index]?.ok === true && elsewhere[index] === undefined,
        );
      if (isRemoved) return { result: "removed" };
      return notRemoved(elsewhere.find((ifindex) => ifindex !== undefined));
    },
  },

  verify: {
    plan: readBack,
    judge(nic, place, results): VerifyOutcome {
      const registrations = registrationsOf(nic, place);
      const { bridge, reads, port } = splitReadBack(results, registrations.length);
      return verifyOutcome(problemsOf(nic, place, results), () => [
        isOffBridges(place) ? undefined : judgePort(nic, place, port, QUARANTINE_FLAGS),
        judgeBridge(nic, bridge),
        judgeVlans(nic, place),
        ...registrations.map((registration, index) => judgeAbsence(nic, place, registration, reads[index])),
      ]);
    },
  },

  mend: tapOnBridgeMending,

  release: {
    // A tap outlives its bridge.
    plan(nic, links, ownership, device) {
      const link = links.get(nic.deviceName);
      const { place, registrations } = leftAtRelease(nic, links);
      const removals = registrations.map((registration) => removeRequest(place, registration));
      if (link === undefined) return removals;
      const { ifindex } = link;
      if (isToBeDeleted(link, ownership, device)) {
        return [...removals, { op: "deleteLink", ifindex }];
      }
      if (isOffBridges(place)) return removals;
      if (ownership.port === "attached") {
        return [...removals, { op: "setLink", ifindex, change: { masterIfindex: 0 } }];
      }
      return [
        ...removals,
        { op: "setBridgePort", ifindex, flags: KERNEL_FLAGS },
        ...flushRequests(place, registrations),
        ...inLostVlans(place, registrations).map((registration) => readRequest(place, registration)),
      ];
    },
    judge(nic, links, requests, results) {
      const { place, registrations } = leftAtRelease(nic, links);
      const problem = registrations
        .map((registration, index) => judgeRemoval(nic, registration, results[index]))
        .find((found) => found !== undefined);
      if (problem !== undefined || requests.length === registrations.length) return problem;
      const device = results[registrations.length];
      if (!doneOrGone(device, GONE)) return refused(nic, "release", device);
      const lost = inLostVlans(place, registrations);
      const left = lost.find((registration, index) =>
        leadsHere(place, registration, results[requests.length - lost.length + index]),
      );
      return left === undefined ? undefined : stillRegistered(nic, subject(left), left.field);
    },
  },
};

/** What the NIC may still have, wherever its tap is. */
function leftAtRelease(nic: TapOnBridgeNic, links: SeenLinks) {
  const located = locate(nic, links);
  const place =
    located.found === "yes" ? located.place : placeOffBridges(nic, links, links.get(nic.deviceName));
  return { place, registrations: registrationsOf(nic, place) };
}

/** What keeps the NIC from being registered, by the answers to `readBack`. */
function problemsOf(
  nic: TapOnBridgeNic,
  place: NicPlace,
  results: readonly RouteResult[],
): readonly NicProblem[] {
  const registrations = registrationsOf(nic, place);
  const { bridge, reads, port } = splitReadBack(results, registrations.length);
  return [
    judgePort(nic, place, port, runningFlags(nic)),
    judgeBridge(nic, bridge),
    ...registrations.map((registration, index) =>
      judgePresence(nic, place, registration, reads[index], bridge?.multicastSnooping),
    ),
    judgePlace(nic, place),
  ].filter((problem) => problem !== undefined);
}

function stillRegistered(nic: TapOnBridgeNic, what: string, field: string): NicProblem {
  const sentence = `${what} is still on ${nic.deviceName} after its removal.`;
  return { reason: "STILL_REGISTERED", sentence, field };
}
