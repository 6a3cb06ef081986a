/** What the kernel's answers say of the registrations of one NIC. */
import type { Switch } from "../../netlink/link.ts";
import type { FdbEntry } from "../../netlink/neighbour.ts";
import type { RouteResult } from "../../netlink/route-port.ts";
import type { NicPlace, NicProblem } from "../device.ts";
import { isErrno } from "../route-answers.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import type {
  AddressRegistration,
  GroupRegistration,
  Registration,
  VxlanRegistration,
} from "./registrations.ts";
import { refused } from "./state.ts";

/**
 * How the kernel refuses to remove what is not there. EINVAL too: in a VLAN that the port is not in, and of a group that
 * the port is not in, whose bridge is down, or whose bridge does not snoop. Whether anything is left, the read-back says.
 */
const NOTHING_TO_REMOVE = ["ENOENT", "ENODEV", "EOPNOTSUPP"] as const;

/** Undefined where the kernel has made the registration, or needs none: a bridge that does not snoop floods its groups. */
export function judgeAddition(
  nic: TapOnBridgeNic,
  registration: Registration,
  result: RouteResult | undefined,
  snooping: Switch | undefined,
): NicProblem | undefined {
  if (result?.ok === true) return undefined;
  const { field } = registration;
  switch (registration.kind) {
    case "address":
      if (nic.macTableManager === "kernel" && isErrno(result, "ENOENT")) return undefined;
      if (registration.vlan !== undefined && isErrno(result, "EINVAL")) {
        return vlanNotOnPort(nic, [registration.vlan]);
      }
      return { ...refused(nic, `register ${subject(registration)} on`, result), field };
    case "group":
      // A membership by report cannot be made permanent before kernel 6.3, and delivers the group as well.
      if (snooping === "off" || isErrno(result, "EEXIST")) return undefined;
      return { ...refused(nic, `register ${subject(registration)} on`, result), field };
    case "vxlan":
      return { ...refusedByVxlan(registration, result), field };
  }
}

/** Undefined where the kernel has removed the registration or had none. */
export function judgeRemoval(
  nic: TapOnBridgeNic,
  registration: Registration,
  result: RouteResult | undefined,
): NicProblem | undefined {
  if (result?.ok === true || isErrno(result, ...NOTHING_TO_REMOVE)) return undefined;
  const { field } = registration;
  const mayBeInvalid =
    registration.kind === "group" || (registration.kind === "address" && registration.vlan !== undefined);
  if (mayBeInvalid && isErrno(result, "EINVAL")) return undefined;
  if (registration.kind === "vxlan") return { ...refusedByVxlan(registration, result), field };
  return { ...refused(nic, `deregister ${subject(registration)} on`, result), field };
}

/** Undefined where the kernel delivers the guest's frames here, or will as soon as the guest speaks. */
export function judgePresence(
  nic: TapOnBridgeNic,
  place: NicPlace,
  registration: Registration,
  read: RouteResult | undefined,
  snooping: Switch | undefined,
): NicProblem | undefined {
  switch (registration.kind) {
    case "address":
      return nic.macTableManager === "kernel"
        ? judgeLearning(nic, place, registration, read)
        : judgeEntry(nic, place, registration, read);
    case "group":
      return judgeMembership(nic, place, registration, read, snooping);
    case "vxlan":
      return judgeVxlan(registration, read);
  }
}

/** Undefined where the kernel delivers the guest's frames elsewhere or nowhere. */
export function judgeAbsence(
  nic: TapOnBridgeNic,
  place: NicPlace,
  registration: Registration,
  read: RouteResult | undefined,
): NicProblem | undefined {
  if (!leadsHere(place, registration, read)) return undefined;
  const on = registration.kind === "vxlan" ? registration.vxlan.deviceName : nic.deviceName;
  const sentence = `${subject(registration)} is registered on ${on}, whose guest does not run.`;
  return { reason: "UNWANTED_REGISTRATION", sentence, field: registration.field };
}

/** Whether frames for it are delivered to this port, or to this host's VTEP. */
export function leadsHere(
  place: NicPlace,
  registration: Registration,
  read: RouteResult | undefined,
): boolean {
  switch (registration.kind) {
    case "address":
      return entryOf(read)?.ifindex === place.deviceIfindex;
    case "group":
      return membersOf(read).some(({ ifindex }) => ifindex === place.deviceIfindex);
    case "vxlan":
      return entryOf(read)?.vtepAddress === registration.vxlan.vtepAddress;
  }
}

export function entryOf(result: RouteResult | undefined): FdbEntry | undefined {
  const message = result?.ok === true ? result.messages[0] : undefined;
  return message?.type === "fdbEntry" ? message.entry : undefined;
}

/** `52:54:00:12:34:56`, `239.1.2.3 in VLAN 7`. */
export function subject(registration: Registration): string {
  if (registration.kind === "vxlan") return registration.macAddress;
  const name = registration.kind === "address" ? registration.macAddress : registration.group;
  return registration.vlan === undefined ? name : `${name} in VLAN ${registration.vlan}`;
}

export function vlanNotOnPort(nic: TapOnBridgeNic, vlans: readonly number[]): NicProblem {
  const sentence = `${nic.deviceName} is not in VLAN ${vlans.join(", ")} of ${nic.bridge}.`;
  return { reason: "VLAN_NOT_ON_PORT", sentence, field: "tap_on_bridge.vlans" };
}

function judgeEntry(
  nic: TapOnBridgeNic,
  place: NicPlace,
  registration: AddressRegistration,
  read: RouteResult | undefined,
): NicProblem | undefined {
  const entry = entryOf(read);
  const what = subject(registration);
  const { field } = registration;
  if (entry === undefined) {
    if (!isErrno(read, "ENOENT")) return refused(nic, "read back", read);
    return { reason: "NOT_REGISTERED", sentence: `${what} is not registered on ${nic.bridge}.`, field };
  }
  if (entry.ifindex !== place.deviceIfindex) {
    const sentence = `${what} is registered on ifindex ${entry.ifindex} of ${nic.bridge}, not on ${nic.deviceName}.`;
    return { reason: "REGISTERED_ELSEWHERE", sentence, field };
  }
  if (entry.state !== "static" || entry.sticky !== nic.sticky) {
    const sentence = `${what} is ${entry.state} and ${entry.sticky} on ${nic.deviceName}, and should be static and ${nic.sticky}.`;
    return { reason: "REGISTRATION_DIFFERS", sentence, field };
  }
  return undefined;
}

/** For a bridge that the kernel manages: nothing keeps it from learning where the guest is. */
function judgeLearning(
  nic: TapOnBridgeNic,
  place: NicPlace,
  registration: AddressRegistration,
  read: RouteResult | undefined,
): NicProblem | undefined {
  const entry = entryOf(read);
  const what = subject(registration);
  const { field } = registration;
  if (entry === undefined) return isErrno(read, "ENOENT") ? undefined : refused(nic, "read back", read);
  if (entry.state === "dynamic") return undefined;
  if (entry.ifindex === place.deviceIfindex) {
    const sentence = `${what} is ${entry.state} on ${nic.deviceName}, where the kernel should learn it.`;
    return { reason: "UNWANTED_REGISTRATION", sentence, field };
  }
  if (entry.state === "static" && entry.sticky === "plain") return undefined;
  const sentence = `${what} is held by ifindex ${entry.ifindex} of ${nic.bridge}, and cannot be learned.`;
  return { reason: "REGISTERED_ELSEWHERE", sentence, field };
}

function judgeMembership(
  nic: TapOnBridgeNic,
  place: NicPlace,
  registration: GroupRegistration,
  read: RouteResult | undefined,
  snooping: Switch | undefined,
): NicProblem | undefined {
  // Kernels before 6.8 tell nobody a single group: there the acknowledgement of the request has to do.
  if (snooping === "off" || isErrno(read, "EOPNOTSUPP")) return undefined;
  const what = subject(registration);
  const { field } = registration;
  if (read?.ok !== true && !isErrno(read, "ENOENT")) return refused(nic, "read back", read);
  const member = membersOf(read).find(({ ifindex }) => ifindex === place.deviceIfindex);
  if (member?.state === "permanent") return undefined;
  return member === undefined
    ? { reason: "NOT_REGISTERED", sentence: `${nic.deviceName} is no member of ${what}.`, field }
    : {
        reason: "REGISTRATION_DIFFERS",
        sentence: `${nic.deviceName} is a member of ${what} for a while only.`,
        field,
      };
}

function judgeVxlan(registration: VxlanRegistration, read: RouteResult | undefined): NicProblem | undefined {
  const { field, macAddress } = registration;
  const { deviceName, vtepAddress } = registration.vxlan;
  const entry = entryOf(read);
  if (entry === undefined) {
    if (!isErrno(read, "ENOENT")) return { ...refusedByVxlan(registration, read), field };
    return { reason: "NOT_REGISTERED", sentence: `${macAddress} is not registered on ${deviceName}.`, field };
  }
  if (entry.vtepAddress !== vtepAddress) {
    const sentence = `${macAddress} is behind VTEP ${entry.vtepAddress ?? "unknown"} on ${deviceName}, not behind ${vtepAddress}.`;
    return { reason: "REGISTERED_ELSEWHERE", sentence, field };
  }
  if (entry.state !== "dynamic") return undefined;
  const sentence = `${macAddress} was learned on ${deviceName}, and should be static.`;
  return { reason: "REGISTRATION_DIFFERS", sentence, field };
}

function refusedByVxlan(
  { vxlan: { deviceName, vtepAddress }, macAddress }: VxlanRegistration,
  result: RouteResult | undefined,
): NicProblem {
  const reason = result === undefined || result.ok ? "NO_ANSWER" : result.name;
  const why = result === undefined || result.ok || result.text === "" ? reason : `${reason}, ${result.text}`;
  return {
    reason,
    sentence: `The kernel refused what was asked for ${macAddress} behind ${vtepAddress} on ${deviceName}: ${why}.`,
  };
}

function membersOf(read: RouteResult | undefined) {
  const message = read?.ok === true ? read.messages[0] : undefined;
  return message?.type === "multicastEntries" ? message.entries : [];
}
