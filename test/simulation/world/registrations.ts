import { parseIpPrefix } from "../../../proto/ip-prefix.ts";
import type { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import { BRIDGE, OVERLAY_BRIDGE, OWN_PARENT, SHARED_PARENT } from "../model/host.ts";
import { overlayOf, routingOf } from "./nic-definitions.ts";
import type { SimulatedInstance, SimulatedNic } from "./world.ts";

/** `nothing`: the instance has no NIC that its host's kernel delivers to. */
export type Registrations = "all" | "some" | "none" | "nothing";

/** Whether the kernel of the instance's host delivers the guest's frames to it: for all NICs, some, or none. */
export function registrationOf(instance: SimulatedInstance): Registrations {
  const { kernel } = instance.host;
  const { read } = instance;
  if (read.kernel !== kernel || read.changes !== kernel.changes) {
    read.kernel = kernel;
    read.changes = kernel.changes;
    read.registrations = readRegistrations(instance);
  }
  return read.registrations;
}

/** Whether frames of the guest may come to the instance. */
export function isRegistered(registrations: Registrations): boolean {
  return registrations === "all" || registrations === "some";
}

/** Whether frames of the guest may fail to come to the instance. */
export function isLacking(registrations: Registrations): boolean {
  return registrations === "none" || registrations === "some";
}

function readRegistrations({ host: { kernel }, nics, qemu }: SimulatedInstance): Registrations {
  let isIn = false;
  let isOut = false;
  for (const nic of nics) {
    for (const part of [...partsOf(kernel, nic), ...(qemu.isAlive ? vtepPartsOf(kernel, nic) : [])]) {
      if (part === "in") isIn = true;
      else if (nic.standing === "firm") isOut = true;
    }
  }
  if (isIn) return isOut ? "some" : "all";
  return isOut ? "none" : "nothing";
}

/** Of all that makes up the NIC's registration, what is in the kernel, and what is not. */
function partsOf(kernel: PretendedKernel, nic: SimulatedNic): readonly ("in" | "out")[] {
  const device = kernel.link(nic.deviceName);
  switch (nic.kind) {
    case "tap":
      return [inOrOut(device !== undefined && isEntryAt(kernel, nic, device.ifindex))];
    case "kernelTap": {
      const flags = device?.port === undefined ? [] : Object.values(device.port);
      const isLearned = device !== undefined && isEntryAt(kernel, nic, device.ifindex);
      const isOpen = flags.length > 0 && flags.every((flag) => flag === "on");
      const isShut = flags.every((flag) => flag === "off") && !isLearned;
      return isOpen ? ["in"] : isShut ? ["out"] : ["in", "out"];
    }
    case "overlayTap":
      return device === undefined ? ["out"] : overlayPartsOf(kernel, nic, device.ifindex);
    case "macvtap":
      // In source mode it gets no frame.
      return device?.state === "up" && device.macvlanMode !== "source"
        ? ["in", inOrOut(isUp(kernel, SHARED_PARENT))]
        : ["out"];
    case "passthrough": {
      // The parent has the guest's address itself, and takes in what is sent to that; without it the macvtap gets nothing.
      const carries = device !== undefined && isUp(kernel, OWN_PARENT);
      return [inOrOut(carries && device.state === "up"), inOrOut(carries)];
    }
    case "routedTap": {
      const { hostAddresses, routes } = routingOf(nic);
      return [
        ...hostAddresses.map((address) => inOrOut(kernel.hasAddress(nic.deviceName, prefix(address)))),
        ...routes.map((route) => inOrOut(kernel.isRoutedTo(nic.deviceName, prefix(route)))),
      ];
    }
    case "unmanaged":
      return [];
  }
}

/** Each address and the group in each VLAN. */
function overlayPartsOf(
  kernel: PretendedKernel,
  nic: SimulatedNic,
  ifindex: number,
): readonly ("in" | "out")[] {
  const { macAddresses, vlans, group } = overlayOf(nic);
  return vlans.flatMap((vlan) => [
    ...macAddresses.map((address) =>
      inOrOut(kernel.entry(OVERLAY_BRIDGE, address, vlan)?.ifindex === ifindex),
    ),
    inOrOut(kernel.isInGroup(nic.deviceName, OVERLAY_BRIDGE, group, vlan)),
  ]);
}

/** Each address behind this host's VTEP: no entry says whose it is, and no host prepares two living instances with one. */
function vtepPartsOf(kernel: PretendedKernel, nic: SimulatedNic): readonly ("in" | "out")[] {
  if (nic.kind !== "overlayTap") return [];
  const { macAddresses, vxlan } = overlayOf(nic);
  if (vxlan === undefined) return [];
  return macAddresses.map((address) => inOrOut(kernel.isBehindVtep(vxlan.deviceName, address)));
}

function isEntryAt(kernel: PretendedKernel, { macAddress }: SimulatedNic, ifindex: number): boolean {
  return kernel.entry(BRIDGE, macAddress)?.ifindex === ifindex;
}

function isUp(kernel: PretendedKernel, name: string): boolean {
  return kernel.link(name)?.state === "up";
}

function prefix(text: string) {
  return parseIpPrefix(text, "");
}

function inOrOut(holds: boolean): "in" | "out" {
  return holds ? "in" : "out";
}
