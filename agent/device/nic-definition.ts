import { invalidArgument } from "../../proto/error.ts";
import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";
import type { Stickiness } from "../netlink/neighbour.ts";

/** A guest's NIC on a tap device that is a port of a bridge. */
export interface TapOnBridgeNic {
  readonly type: "tapOnBridge";
  /** Unique within the guest. */
  readonly nicId: string;
  /** The guest's own address; never the tap's. */
  readonly macAddress: MacAddress;
  readonly deviceName: string;
  readonly bridge: string;
  /** Who registers the address: Switchover, or the kernel by learning from the guest's frames. */
  readonly macTableManager: "switchover" | "kernel";
  /** Whether frames from elsewhere can move the registration; `plain` for bridges under an EVPN daemon. */
  readonly sticky: Stickiness;
}

/** One NIC of a guest, told apart by `type`; each type has its file in this folder. */
export type NicDefinition = TapOnBridgeNic;

export const MAX_NICS_PER_GUEST = 64;

/** IFNAMSIZ less the final zero. */
const MAX_DEVICE_NAME_BYTES = 15;
const NIC_ID_TEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/;
/** What `dev_valid_name` of the kernel refuses, and what no shell or log can show. */
const BAD_IN_DEVICE_NAME = /[^\x21-\x7e]|[/:%]/;

/** Returns the name of a network device as the kernel takes it, or throws INVALID_ARGUMENT naming `field`. */
export function parseDeviceName(text: string, field: string): string {
  if (text === "") throw invalidArgument(field, "A device name is required.", "REQUIRED");
  if (text.length > MAX_DEVICE_NAME_BYTES) {
    throw invalidArgument(
      field,
      `"${text.slice(0, 64)}" is longer than the ${MAX_DEVICE_NAME_BYTES} characters of a device name.`,
      "DEVICE_NAME_TOO_LONG",
    );
  }
  if (text === "." || text === ".." || BAD_IN_DEVICE_NAME.test(text)) {
    throw invalidArgument(field, `${JSON.stringify(text)} is not a device name.`);
  }
  return text;
}

/** Throws INVALID_ARGUMENT for the first thing that is wrong with a guest's NICs, whatever the host looks like. */
export function checkNicDefinitions(nics: readonly NicDefinition[], field = "nics"): void {
  if (nics.length > MAX_NICS_PER_GUEST) {
    throw invalidArgument(field, `${nics.length} NICs are more than the ${MAX_NICS_PER_GUEST} of a guest.`);
  }
  const nicIds = new Set<string>();
  const deviceNames = new Set<string>();
  const places = new Set<string>();
  nics.forEach((nic, index) => {
    const at = `${field}[${index}]`;
    if (!NIC_ID_TEXT.test(nic.nicId)) {
      throw invalidArgument(`${at}.nic_id`, `${JSON.stringify(nic.nicId.slice(0, 64))} is not a NIC id.`);
    }
    parseMacAddress(nic.macAddress, `${at}.mac_address`);
    parseDeviceName(nic.deviceName, `${at}.tap_on_bridge.device_name`);
    parseDeviceName(nic.bridge, `${at}.tap_on_bridge.bridge`);
    if (nic.deviceName === nic.bridge) {
      throw invalidArgument(`${at}.tap_on_bridge.device_name`, `${nic.bridge} cannot be a port of itself.`);
    }
    if (nicIds.has(nic.nicId)) {
      throw invalidArgument(`${at}.nic_id`, `${nic.nicId} names two NICs.`, "DUPLICATE");
    }
    if (deviceNames.has(nic.deviceName)) {
      throw invalidArgument(
        `${at}.tap_on_bridge.device_name`,
        `${nic.deviceName} serves two NICs.`,
        "DUPLICATE",
      );
    }
    const place = `${nic.macAddress} on ${nic.bridge}`;
    if (places.has(place)) {
      throw invalidArgument(`${at}.mac_address`, `${place} serves two NICs.`, "DUPLICATE");
    }
    places.add(place);
    nicIds.add(nic.nicId);
    deviceNames.add(nic.deviceName);
  });
}
