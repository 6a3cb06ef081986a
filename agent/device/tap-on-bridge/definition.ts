import { invalidArgument } from "../../../proto/error.ts";
import type { Stickiness } from "../../netlink/neighbour.ts";
import { parseDeviceName } from "../device-name.ts";
import type { NicIdentity } from "../nic-identity.ts";

/** A guest's NIC on a tap device that is a port of a bridge. */
export interface TapOnBridgeNic extends NicIdentity {
  readonly type: "tapOnBridge";
  readonly deviceName: string;
  readonly bridge: string;
  /** Who registers the address: Switchover, or the kernel by learning from the guest's frames. */
  readonly macTableManager: "switchover" | "kernel";
  /** Whether frames from elsewhere can move the registration; `plain` for bridges under an EVPN daemon. */
  readonly sticky: Stickiness;
}

export function checkTapOnBridge(nic: TapOnBridgeNic, field: string): void {
  parseDeviceName(nic.deviceName, `${field}.device_name`);
  parseDeviceName(nic.bridge, `${field}.bridge`);
  if (nic.deviceName === nic.bridge) {
    throw invalidArgument(`${field}.device_name`, `${nic.bridge} cannot be a port of itself.`);
  }
}
