import type { RouteRequest } from "../../netlink/route-request.ts";
import { isToBeDeleted } from "../created-device.ts";
import type {
  DeviceType,
  Located,
  NicPlace,
  SeenLinks,
  StartOutcome,
  StopOutcome,
  VerifyOutcome,
} from "../device.ts";
import { deviceMissing } from "../device-link.ts";
import { notRemoved, verifyOutcome } from "../outcome.ts";
import { DEEDS } from "../request-deeds.ts";
import { doneOrGone } from "../route-answers.ts";
import { checkRoutedTap, type RoutedTapNic } from "./definition.ts";
import { routedTapMending } from "./mending.ts";
import { routedTapPreparation } from "./preparation.ts";
import {
  DEVICE_FIELD,
  elsewhereOf,
  judgeAddresses,
  judgeLink,
  judgeNoAddress,
  judgeNoRoute,
  judgeRoutes,
  leading,
  leadingOf,
  portOfAnother,
  quarantinedState,
  readBack,
  readBackOf,
  refused,
} from "./state.ts";

/** What the kernel says of a route, an address and a device that are not there. */
const GONE = ["ESRCH", "EADDRNOTAVAIL", "ENODEV"] as const;

/**
 * A tap that the host routes to. Its registration is that it is up, with the host's addresses on it and the guest's
 * prefixes routed to it; in quarantine it has none of these, and is down until its first start. A prefix that somebody
 * has routed another way meanwhile is not ours any more, and is left.
 */
export const routedTap: DeviceType<RoutedTapNic> = {
  type: "routedTap",
  field: "routed_tap",
  extras: [],
  check: checkRoutedTap,
  deviceName: (nic) => nic.deviceName,
  segment: () => undefined,
  routes: (nic) => nic.routes,
  stands: "byItself",

  /** Behind a routed tap is nobody to be told: frames come by the host's routes, which start has made. */
  announceOn: () => [],

  linkNames: (nic) => [nic.deviceName],

  locate,

  strayed: (nic, device) =>
    device === undefined
      ? undefined
      : {
          nic: { ...nic, deviceName: device.name },
          place: { deviceIfindex: device.ifindex, parentIfindex: 0 },
        },

  prepare: routedTapPreparation,

  start: {
    plan: (nic, place) => [...registration(nic, place), ...readBack(nic, place)],
    judge(nic, place, results): StartOutcome {
      const requests = registration(nic, place);
      const failed = results.slice(0, requests.length).findIndex(({ ok }) => !ok);
      const held = readBackOf(nic, results);
      const problem =
        (failed < 0 ? undefined : refused(nic, DEEDS[requests[failed]?.op ?? "setLink"], results[failed])) ??
        judgeLink(nic, place, held.link, "up") ??
        judgeAddresses(nic, held.addresses) ??
        judgeRoutes(nic, place, held.routes);
      return problem === undefined ? { result: "started" } : { result: "failed", problem };
    },
  },

  stop: {
    plan: (nic, place) => [...removal(nic, place), ...leading(nic, place)],
    judge(nic, place, results): StopOutcome {
      const requests = removal(nic, place);
      const removals = results.slice(0, requests.length);
      const failed = removals.findIndex((result) => !doneOrGone(result, GONE));
      const held = leadingOf(nic, results);
      const problem =
        judgeNoRoute(nic, place, held.routes) ??
        judgeNoAddress(nic, held.addresses) ??
        (failed < 0
          ? undefined
          : refused(nic, DEEDS[requests[failed]?.op ?? "deleteRoute"], removals[failed]));
      if (problem !== undefined) return { result: "failed", problem };
      if (removals.some(({ ok }, index) => ok && requests[index]?.op !== "setLink")) {
        return { result: "removed" };
      }
      return notRemoved(elsewhereOf(nic, held.routes));
    },
  },

  verify: {
    plan: readBack,
    judge(nic, place, results): VerifyOutcome {
      const held = readBackOf(nic, results);
      return verifyOutcome(
        [
          judgeLink(nic, place, held.link, "up"),
          judgeAddresses(nic, held.addresses),
          judgeRoutes(nic, place, held.routes),
        ],
        () => [
          judgeLink(nic, place, held.link, quarantinedState(nic)),
          judgeNoAddress(nic, held.addresses),
          judgeNoRoute(nic, place, held.routes),
        ],
      );
    },
  },

  mend: routedTapMending,

  release: {
    // Who made the tap brings it up again: until then nothing of its former guest is delivered to the next.
    plan(nic, links, ownership, device) {
      const link = links.get(nic.deviceName);
      if (link === undefined) return [];
      if (isToBeDeleted(link, ownership, device)) {
        return [{ op: "deleteLink", ifindex: link.ifindex }];
      }
      const located = locate(nic, links);
      if (located.found === "no") return [];
      return [
        ...removal(nic, located.place),
        { op: "setLink", ifindex: link.ifindex, change: { state: "down" } },
      ];
    },
    judge(nic, _links, _requests, results) {
      const failed = results.find((result) => !doneOrGone(result, GONE));
      return failed === undefined ? undefined : refused(nic, "release", failed);
    },
  },
};

/** The tap first: a device that is down takes no route. */
function registration(nic: RoutedTapNic, { deviceIfindex: ifindex }: NicPlace): readonly RouteRequest[] {
  return [
    { op: "setLink", ifindex, change: { state: "up" } },
    ...nic.hostAddresses.map((address) => ({ op: "replaceAddress", ifindex, address }) as const),
    ...nic.routes.map((prefix) => ({ op: "replaceRoute", ifindex, prefix }) as const),
  ];
}

/** The way to the guest first. */
function removal(nic: RoutedTapNic, { deviceIfindex: ifindex }: NicPlace): readonly RouteRequest[] {
  return [
    ...nic.routes.map((prefix) => ({ op: "deleteRoute", ifindex, prefix }) as const),
    ...nic.hostAddresses.map((address) => ({ op: "deleteAddress", ifindex, address }) as const),
    ...(quarantinedState(nic) === "down"
      ? [{ op: "setLink", ifindex, change: { state: "down" } } as const]
      : []),
  ];
}

function locate(nic: RoutedTapNic, links: SeenLinks): Located {
  const device = links.get(nic.deviceName);
  if (device === undefined) return { found: "no", problem: deviceMissing(nic.deviceName, DEVICE_FIELD) };
  if (device.masterIfindex !== undefined) return { found: "no", problem: portOfAnother(nic) };
  return { found: "yes", place: { deviceIfindex: device.ifindex, parentIfindex: 0 } };
}
