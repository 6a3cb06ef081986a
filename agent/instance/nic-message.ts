import { invalidArgument } from "../../proto/error.ts";
import {
  EntryMobility,
  MacTableManager,
  type NicDefinition as NicMessage,
} from "../../proto/gen/switchover/v1/nic.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { checkNicDefinitions, type NicDefinition, parseDeviceName } from "../device/nic-definition.ts";

/** The NICs a caller defines; throws INVALID_ARGUMENT naming the first field that can never be right. */
export function parseNics(messages: readonly NicMessage[]): readonly NicDefinition[] {
  if (messages.length === 0) throw invalidArgument("nics", "A guest needs at least one NIC.", "REQUIRED");
  const nics = messages.map((message, index) => parseNic(message, `nics[${index}]`));
  checkNicDefinitions(nics);
  return nics;
}

function parseNic(message: NicMessage, field: string): NicDefinition {
  const macAddress = parseMacAddress(message.macAddress, `${field}.mac_address`);
  if (message.device === undefined) {
    throw invalidArgument(`${field}.device`, "The NIC's device is required (tap_on_bridge).", "REQUIRED");
  }
  const { value: tap } = message.device;
  const at = `${field}.tap_on_bridge`;
  return {
    type: "tapOnBridge",
    nicId: message.nicId,
    macAddress,
    deviceName: parseDeviceName(tap.deviceName, `${at}.device_name`),
    bridge: parseDeviceName(tap.bridge, `${at}.bridge`),
    macTableManager: tap.macTableManager === MacTableManager.KERNEL ? "kernel" : "switchover",
    sticky: tap.entryMobility === EntryMobility.ROAMING ? "plain" : "sticky",
  };
}

/** The same definition as the contract has it. */
export function toNicMessage(nic: NicDefinition): NicMessage {
  return {
    nicId: nic.nicId,
    macAddress: nic.macAddress,
    device: {
      $case: "tapOnBridge",
      value: {
        deviceName: nic.deviceName,
        bridge: nic.bridge,
        macTableManager:
          nic.macTableManager === "kernel" ? MacTableManager.KERNEL : MacTableManager.SWITCHOVER,
        entryMobility: nic.sticky === "plain" ? EntryMobility.ROAMING : EntryMobility.STICKY,
      },
    },
  };
}
