import type { RouteResult } from "../../netlink/route-port.ts";
import { CREATED_ALIAS } from "../created-alias.ts";
import type { DeviceType, Located, SeenLinks, StartOutcome, StopOutcome, VerifyOutcome } from "../device.ts";
import { isErrno } from "../route-answers.ts";
import { deviceMissing } from "../tap-link.ts";
import { announceOnUplinks } from "./announcing.ts";
import { checkTapOnBridge, type TapOnBridgeNic } from "./definition.ts";
import { tapOnBridgeMending } from "./mending.ts";
import { bridgeMissing, tapOnBridgePreparation } from "./preparation.ts";
import {
  DEVICE_FIELD,
  entryOf,
  judgeAbsence,
  judgePort,
  judgeRegistration,
  KERNEL_FLAGS,
  notAPort,
  pointsHere,
  QUARANTINE_FLAGS,
  readBack,
  refused,
  runningFlags,
} from "./state.ts";

/** What the kernel says of a device that vanished (ENODEV) or left its bridge (EOPNOTSUPP): trap 4. */
const GONE = ["ENODEV", "EOPNOTSUPP"] as const;

/**
 * A tap on a bridge. Its registration is a forwarding entry `static sticky` (or plain `static`, by policy) on a
 * bridge that Switchover manages, and leave to learn and to be flooded on one that the kernel manages.
 */
export const tapOnBridge: DeviceType<TapOnBridgeNic> = {
  type: "tapOnBridge",
  field: "tap_on_bridge",
  check: checkTapOnBridge,
  deviceName: (nic) => nic.deviceName,
  segment: (nic) => nic.bridge,

  surveys: "namedLinks",
  linkNames: (nic) => [nic.bridge, nic.deviceName],

  announceOn: announceOnUplinks,

  locate,

  prepare: tapOnBridgePreparation,

  start: {
    plan: (nic, place) => [
      { op: "setBridgePort", ifindex: place.deviceIfindex, flags: runningFlags(nic) },
      nic.macTableManager === "switchover"
        ? {
            op: "replaceFdbEntry",
            ifindex: place.deviceIfindex,
            macAddress: nic.macAddress,
            sticky: nic.sticky,
          }
        : { op: "deleteFdbEntry", ifindex: place.deviceIfindex, macAddress: nic.macAddress },
      ...readBack(nic, place),
    ],
    judge(nic, place, [port, registration, entry, link]): StartOutcome {
      const unregistered = nic.macTableManager === "kernel" && isErrno(registration, "ENOENT");
      const problem =
        (port?.ok === true ? undefined : refused(nic, "set the port flags of", port)) ??
        (registration?.ok === true || unregistered ? undefined : refused(nic, "register", registration)) ??
        judgePort(nic, place, link, runningFlags(nic)) ??
        judgeRegistration(nic, place, entry);
      return problem === undefined ? { result: "started" } : { result: "failed", problem };
    },
  },

  stop: {
    // Learning goes off first: a frame that is still on its way must not bring back what is removed.
    plan: (nic, place) => [
      { op: "setBridgePort", ifindex: place.deviceIfindex, flags: QUARANTINE_FLAGS },
      { op: "deleteFdbEntry", ifindex: place.deviceIfindex, macAddress: nic.macAddress },
      { op: "getFdbEntry", bridgeIfindex: place.parentIfindex, macAddress: nic.macAddress },
    ],
    judge(nic, place, [port, removal, entry]): StopOutcome {
      if (pointsHere(place, entry)) {
        const sentence = `${nic.macAddress} is still on ${nic.deviceName} after its removal.`;
        return { result: "failed", problem: { reason: "STILL_REGISTERED", sentence, field: "mac_address" } };
      }
      if (removal?.ok !== true && !isErrno(removal, "ENOENT", ...GONE)) {
        return { result: "failed", problem: refused(nic, "deregister", removal) };
      }
      if (port?.ok !== true && !isErrno(port, ...GONE)) {
        return { result: "failed", problem: refused(nic, "quarantine", port) };
      }
      if (removal?.ok === true) return { result: "removed" };
      const elsewhere = entryOf(entry)?.ifindex;
      return elsewhere === undefined
        ? { result: "alreadyGone" }
        : { result: "elsewhere", ifindex: elsewhere };
    },
  },

  verify: {
    plan: readBack,
    judge(nic, place, [entry, link]): VerifyOutcome {
      const problems = [
        judgePort(nic, place, link, runningFlags(nic)),
        judgeRegistration(nic, place, entry),
      ].filter((problem) => problem !== undefined);
      if (problems.length === 0) return { registration: "registered" };
      const quarantineProblems = [
        judgePort(nic, place, link, QUARANTINE_FLAGS),
        judgeAbsence(nic, place, entry),
      ].filter((problem) => problem !== undefined);
      if (quarantineProblems.length === 0) return { registration: "quarantined" };
      return { registration: "drifted", problems, quarantineProblems };
    },
  },

  mend: tapOnBridgeMending,

  release: {
    // A tap outlives its bridge, and a stranger may have taken its name: only one that says so is ours to delete.
    plan(nic, links, ownership, device) {
      const link = links.get(nic.deviceName);
      if (link === undefined) return [];
      const { ifindex } = link;
      const removal = { op: "deleteFdbEntry", ifindex, macAddress: nic.macAddress } as const;
      if (ownership.device === "created" && device === "delete" && link.alias === CREATED_ALIAS) {
        return [removal, { op: "deleteLink", ifindex }];
      }
      if (locate(nic, links).found === "no") return [];
      if (ownership.port === "attached") {
        return [removal, { op: "setLink", ifindex, change: { masterIfindex: 0 } }];
      }
      return [removal, { op: "setBridgePort", ifindex, flags: KERNEL_FLAGS }];
    },
    judge(nic, [removal, device]) {
      if (!doneOrGone(removal) && !isErrno(removal, "ENOENT")) return refused(nic, "deregister", removal);
      return doneOrGone(device) ? undefined : refused(nic, "release", device);
    },
  },
};

function locate(nic: TapOnBridgeNic, links: SeenLinks): Located {
  const bridge = links.get(nic.bridge);
  const device = links.get(nic.deviceName);
  if (bridge === undefined) return { found: "no", problem: bridgeMissing(nic) };
  if (device === undefined) return { found: "no", problem: deviceMissing(nic.deviceName, DEVICE_FIELD) };
  if (device.masterIfindex !== bridge.ifindex || device.port === undefined) {
    return { found: "no", problem: notAPort(nic) };
  }
  return { found: "yes", place: { deviceIfindex: device.ifindex, parentIfindex: bridge.ifindex } };
}

function doneOrGone(result: RouteResult | undefined): boolean {
  return result?.ok === true || isErrno(result, ...GONE);
}
