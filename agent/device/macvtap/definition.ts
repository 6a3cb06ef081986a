import { invalidArgument } from "../../../proto/error.ts";
import type { MacvtapMode } from "../../netlink/link.ts";
import { parseDeviceName } from "../device-name.ts";
import type { NicIdentity } from "../nic-identity.ts";

/** A guest's NIC on a macvtap of a parent device ("physdev"). */
export interface MacvtapNic extends NicIdentity {
  readonly type: "macvtap";
  readonly deviceName: string;
  readonly parent: string;
  readonly mode: MacvtapMode;
}

export function checkMacvtap(nic: MacvtapNic, field: string): void {
  parseDeviceName(nic.deviceName, `${field}.device_name`);
  parseDeviceName(nic.parent, `${field}.parent`);
  if (nic.deviceName === nic.parent) {
    throw invalidArgument(`${field}.device_name`, `${nic.parent} cannot be a macvtap of itself.`);
  }
}

/** QEMU opens a macvtap by this file; its name is the same in all network namespaces of a host. */
export function characterDeviceOf(ifindex: number): string {
  return `/dev/tap${ifindex}`;
}
