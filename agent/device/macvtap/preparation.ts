import type { Link, LinkChange } from "../../netlink/link.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import { CREATED_ALIAS, originOf } from "../created-device.ts";
import type { DevicePreparation, NicProblem, SeenLinks } from "../device.ts";
import { deviceMissing, isSilent, notSilent } from "../device-link.ts";
import { isErrno, linkOf } from "../route-answers.ts";
import type { MacvtapNic } from "./definition.ts";
import { askHostUse, judgeHostUse } from "./host-use.ts";
import { asFound, isMarked, markParent, restoreParent, stackedOn, unmarkParent } from "./parent.ts";
import {
  DEVICE_FIELD,
  isExclusive,
  isHushed,
  judgeOffline,
  misfitOf,
  PARENT_FIELD,
  parentMissing,
  parentRefused,
  readBack,
  refused,
  unhush,
} from "./state.ts";

/** Makes a macvtap where there is none, and takes it, or the one that is there, offline with the guest's address. */
export const macvtapPreparation: DevicePreparation<MacvtapNic> = {
  // Later the parent is the guest's: what the host makes of it then is no reason to keep the guest from leaving.
  ask(nic, links) {
    const parent = links.get(nic.parent);
    if (parent === undefined) return [];
    const isTaken = links.get(nic.deviceName)?.macAddress === nic.macAddress;
    return [...askLower(parent), ...(isExclusive(nic) && !isTaken ? askHostUse(parent) : [])];
  },

  refusals(nic, links, { answers }, occasion) {
    const parent = links.get(nic.parent);
    if (parent === undefined) return [parentMissing(nic)];
    const deadParent = occasion === "leave" ? undefined : deadParentProblem(nic, parent, answers, occasion);
    const device = links.get(nic.deviceName);
    const misfit = device === undefined ? undefined : misfitOf(nic, device, parent);
    const hostUse = judgeHostUse(nic, answers);
    return [
      ...parentProblems(nic, parent, links),
      ...(misfit === undefined ? [] : [misfit]),
      ...(hostUse === undefined ? [] : [hostUse]),
      ...(deadParent === undefined ? [] : [deadParent]),
    ];
  },

  creation(nic, links) {
    const parent = links.get(nic.parent);
    if (parent === undefined || links.has(nic.deviceName)) return undefined;
    const { deviceName, mode } = nic;
    const request = { op: "createMacvtap", name: deviceName, parentIfindex: parent.ifindex, mode } as const;
    return { by: "link", deviceName, request };
  },

  plan(nic, before, after) {
    const parent = after.get(nic.parent);
    const device = after.get(nic.deviceName);
    if (parent === undefined || device === undefined) return [];
    const change: LinkChange = {
      ...(device.macAddress === nic.macAddress ? {} : { macAddress: nic.macAddress }),
      ...(before.has(nic.deviceName) ? {} : { alias: CREATED_ALIAS }),
      // Or the host would send frames of its own with the guest's address when the device comes up: trap 8.
      ...(isSilent(device) ? {} : { addrGenMode: "none" as const }),
    };
    return [
      ...(device.state === "up" ? [setLink(device, { state: "down" })] : []),
      ...(isExclusive(nic) ? quietParent(parent) : markParent(parent)),
      ...(isHushed(nic, device) ? unhush(nic, device.ifindex) : []),
      ...(Object.keys(change).length > 0 ? [setLink(device, change)] : []),
      ...readBack(nic),
    ];
  },

  judge(nic, before, after, results) {
    const parent = after.get(nic.parent);
    const device = after.get(nic.deviceName);
    if (parent === undefined) return parentMissing(nic);
    if (device === undefined) return deviceMissing(nic.deviceName, DEVICE_FIELD);
    for (const [index, request] of this.plan(nic, before, after).entries()) {
      const result = results[index];
      if (result?.ok === true || (request.op === "setAltName" && isErrno(result, "EEXIST"))) continue;
      const isOfParent = "ifindex" in request && request.ifindex === parent.ifindex;
      return isOfParent ? parentRefused(nic, "set up", result) : refused(nic, "set up", result);
    }
    const [read, parentRead] = results.slice(-2);
    const place = { deviceIfindex: device.ifindex, parentIfindex: parent.ifindex };
    const problem = judgeOffline(nic, place, read, parentRead);
    if (problem !== undefined) return problem;
    const link = linkOf(read);
    return link === undefined ? undefined : notSilent(link, DEVICE_FIELD);
  },

  undo(nic, before, after) {
    const parent = after.get(nic.parent);
    const device = after.get(nic.deviceName);
    const parentWas = before.get(nic.parent);
    if (parent === undefined || parentWas === undefined) return [];
    return [
      ...(device === undefined ? [] : undoDevice(device, before.get(nic.deviceName))),
      ...undoParent(nic, parent, parentWas, after),
    ];
  },

  ownership(nic, before) {
    const parent = before.get(nic.parent);
    return {
      device: originOf(before.get(nic.deviceName)),
      port: "existing",
      ...(isExclusive(nic) && parent !== undefined ? { parent: asFound(parent, nic) } : {}),
    };
  },
};

function parentProblems(nic: MacvtapNic, parent: Link, links: SeenLinks): NicProblem[] {
  const field = PARENT_FIELD;
  if (parent.kind === "macvtap" || parent.kind === "macvlan") {
    const sentence = `${nic.parent} is itself a ${parent.kind}: name the device that it is on.`;
    return [{ reason: "PARENT_IS_MACVTAP", sentence, field }];
  }
  if (parent.frames === "notEthernet") {
    const sentence = `${nic.parent} has no Ethernet frames, so nothing can share it by their addresses.`;
    return [{ reason: "PARENT_NOT_ETHERNET", sentence, field }];
  }
  // A VRF decides how frames are routed, and takes none.
  if (parent.masterIfindex !== undefined && parent.masterKind !== "vrf") {
    const sentence = `${nic.parent} is a port of ifindex ${parent.masterIfindex}, which takes all its frames.`;
    return [{ reason: "PARENT_IS_PORT", sentence, field }];
  }
  // A VLAN on the parent, say, and with it the host's addresses, goes down with a parent in passthrough.
  const others = stackedOn(parent, links).filter(({ name }) => name !== nic.deviceName);
  const [first] = others;
  const exclusive = isExclusive(nic)
    ? first
    : others.find(({ macvlanMode }) => macvlanMode === "passthrough");
  if (exclusive !== undefined) {
    const sentence = `${nic.parent} has ${exclusive.name}, and a device in passthrough has its parent to itself.`;
    return [{ reason: "PARENT_IN_USE", sentence, field }];
  }
  const namesake = others.find(
    ({ kind, macAddress }) => (kind === "macvtap" || kind === "macvlan") && macAddress === nic.macAddress,
  );
  if (namesake !== undefined) {
    const sentence = `${nic.macAddress} is the address of ${namesake.name} on ${nic.parent}: one of the two could be up.`;
    return [{ reason: "MAC_IN_USE", sentence, field: "mac_address" }];
  }
  if (parent.macAddress === nic.macAddress && !isExclusive(nic)) {
    const sentence = `${nic.macAddress} is the address of ${nic.parent} itself.`;
    return [{ reason: "MAC_OF_PARENT", sentence, field: "mac_address" }];
  }
  return [];
}

/** A VLAN cannot be raised while the device under it is down. */
function askLower({ kind, parentIfindex, state }: Link): readonly RouteRequest[] {
  const isStuck = kind === "vlan" && parentIfindex !== undefined && state === "down";
  return isStuck ? [{ op: "getLink", ifindex: parentIfindex }] : [];
}

/** Why a parent cannot be raised, or, for a guest that is heard elsewhere, leads nowhere. `answers` begin with `askLower`'s. */
function deadParentProblem(
  nic: MacvtapNic,
  parent: Link,
  answers: readonly RouteResult[],
  occasion: "prepare" | "arrive",
): NicProblem | undefined {
  const lower = askLower(parent).length === 0 ? undefined : linkOf(answers[0]);
  if (lower?.state === "down") {
    const sentence = `${nic.parent} cannot be raised with its guest: ${lower.name}, which it is a VLAN of, is down.`;
    return { reason: "PARENT_LOWER_DOWN", sentence, field: PARENT_FIELD };
  }
  // One that is down tells no carrier.
  if (occasion === "prepare" || parent.state === "down" || parent.carrier !== "off") return undefined;
  const sentence = `${nic.parent} is up and has no carrier: its guest would be cut off.`;
  return { reason: "PARENT_NO_CARRIER", sentence, field: PARENT_FIELD };
}

/** It carries the guest's address from now on: down, and silent once it comes up. */
function quietParent(parent: Link): readonly RouteRequest[] {
  return [
    ...(parent.state === "up" ? [setLink(parent, { state: "down" })] : []),
    ...(isSilent(parent) ? [] : [setLink(parent, { addrGenMode: "none" })]),
  ];
}

function undoDevice(device: Link, was: Link | undefined): readonly RouteRequest[] {
  if (was === undefined) return [{ op: "deleteLink", ifindex: device.ifindex }];
  return [
    setLink(device, {
      ...(was.macAddress === undefined ? {} : { macAddress: was.macAddress }),
      ...(was.addrGenMode === "eui64" ? { addrGenMode: was.addrGenMode } : {}),
    }),
    ...(was.state === "up" ? [setLink(device, { state: "up" })] : []),
  ];
}

function undoParent(nic: MacvtapNic, parent: Link, was: Link, links: SeenLinks): readonly RouteRequest[] {
  if (isExclusive(nic)) return restoreParent(parent, asFound(was, nic));
  return isMarked(was) ? [] : unmarkParent(nic, parent, links);
}

function setLink({ ifindex }: Link, change: LinkChange): RouteRequest {
  return { op: "setLink", ifindex, change };
}
