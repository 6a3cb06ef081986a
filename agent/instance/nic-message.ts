import { invalidArgument, unknownEnum } from "../../proto/error.ts";
import {
  EntryMobility,
  MacTableManager,
  type Macvtap,
  MacvtapMode,
  type NicDefinition as NicMessage,
  type RoutedTap,
  type TapOnBridge,
  UnmanagedKind,
  type VxlanEntry,
} from "../../proto/gen/switchover/v1/nic.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import { parseIpPrefix } from "../../proto/ip-prefix.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { checkNicDefinitions } from "../device/check-nics.ts";
import { parseDeviceName } from "../device/device-name.ts";
import { DEVICE_TYPE_FIELDS } from "../device/device-types.ts";
import { parseGuestAddresses } from "../device/guest-addresses.ts";
import type { MacvtapNic } from "../device/macvtap/definition.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { NicIdentity } from "../device/nic-identity.ts";
import type { RoutedTapNic } from "../device/routed-tap/definition.ts";
import type { TapOnBridgeNic, VxlanOfNic } from "../device/tap-on-bridge/definition.ts";
import { parseMulticastGroup } from "../device/tap-on-bridge/multicast-group.ts";
import type { UnmanagedNic } from "../device/unmanaged/definition.ts";

const UNMANAGED_KINDS: { readonly [K in UnmanagedNic["kind"]]: UnmanagedKind } = {
  user: UnmanagedKind.USER,
  vhostUser: UnmanagedKind.VHOST_USER,
  hostdev: UnmanagedKind.HOSTDEV,
  vdpa: UnmanagedKind.VDPA,
};

const MACVTAP_MODES: { readonly [M in MacvtapNic["mode"]]: MacvtapMode } = {
  private: MacvtapMode.PRIVATE,
  vepa: MacvtapMode.VEPA,
  bridge: MacvtapMode.BRIDGE,
  passthrough: MacvtapMode.PASSTHROUGH,
};

/** Unspecified is `switchover`. */
const MAC_TABLE_MANAGERS: { readonly [M in TapOnBridgeNic["macTableManager"]]: MacTableManager } = {
  switchover: MacTableManager.SWITCHOVER,
  kernel: MacTableManager.KERNEL,
};

/** Unspecified is `sticky`. */
const ENTRY_MOBILITIES: { readonly [M in TapOnBridgeNic["sticky"]]: EntryMobility } = {
  sticky: EntryMobility.STICKY,
  plain: EntryMobility.ROAMING,
};

/** The NICs a caller defines; throws INVALID_ARGUMENT naming the first field that can never be right. */
export function parseNics(messages: readonly NicMessage[]): readonly NicDefinition[] {
  if (messages.length === 0) throw invalidArgument("nics", "A guest needs at least one NIC.", "REQUIRED");
  const nics = messages.map((message, index) => parseNic(message, `nics[${index}]`));
  checkNicDefinitions(nics);
  return nics;
}

/** The NIC at `field` of a caller's request; throws as `parseNics` does, without judging it beside others. */
export function parseNic(message: NicMessage, field: string): NicDefinition {
  const { device } = message;
  const identity = parseIdentity(message, field);
  switch (device?.$case) {
    case undefined:
      throw invalidArgument(
        `${field}.device`,
        `The NIC's device is required (${DEVICE_TYPE_FIELDS.join(", ")}).`,
        "REQUIRED",
      );
    case "tapOnBridge":
      return parseTapOnBridge(identity, device.value, `${field}.tap_on_bridge`);
    case "macvtap":
      return parseMacvtap(identity, device.value, `${field}.macvtap`);
    case "routedTap":
      return parseRoutedTap(identity, device.value, `${field}.routed_tap`);
    case "unmanaged":
      return {
        type: "unmanaged",
        ...identity,
        kind: parseWord(UNMANAGED_KINDS, device.value.kind, `${field}.unmanaged.kind`),
      };
  }
}

/** Without what is empty: so are the definitions that journals hold. */
function parseIdentity(message: NicMessage, field: string): NicIdentity {
  const { additionalMacAddresses, guestAddresses, macAddress, nicId } = message;
  const addresses = parseGuestAddresses(guestAddresses, `${field}.guest_addresses`);
  const additional = additionalMacAddresses.map((text, index) =>
    parseMacAddress(text, `${field}.additional_mac_addresses[${index}]`),
  );
  return {
    nicId,
    macAddress: parseMacAddress(macAddress, `${field}.mac_address`),
    ...(addresses.length === 0 ? {} : { guestAddresses: addresses }),
    ...(additional.length === 0 ? {} : { additionalMacAddresses: additional }),
  };
}

function parseTapOnBridge(identity: NicIdentity, tap: TapOnBridge, field: string): TapOnBridgeNic {
  const groups = tap.multicastGroups.map((text, index) =>
    parseMulticastGroup(text, `${field}.multicast_groups[${index}]`),
  );
  return {
    type: "tapOnBridge",
    ...identity,
    deviceName: parseDeviceName(tap.deviceName, `${field}.device_name`),
    bridge: parseDeviceName(tap.bridge, `${field}.bridge`),
    macTableManager: parseWord(
      MAC_TABLE_MANAGERS,
      tap.macTableManager || MacTableManager.SWITCHOVER,
      `${field}.mac_table_manager`,
    ),
    sticky: parseWord(ENTRY_MOBILITIES, tap.entryMobility || EntryMobility.STICKY, `${field}.entry_mobility`),
    ...(tap.vlans.length === 0 ? {} : { vlans: tap.vlans }),
    ...(tap.multicastGroups.length === 0 ? {} : { multicastGroups: groups }),
    ...(tap.vxlan === undefined ? {} : { vxlan: parseVxlan(tap.vxlan, `${field}.vxlan`) }),
  };
}

function parseVxlan({ deviceName, vtepAddress, vni }: VxlanEntry, field: string): VxlanOfNic {
  return {
    deviceName: parseDeviceName(deviceName, `${field}.device_name`),
    vtepAddress: parseIpAddress(vtepAddress, `${field}.vtep_address`),
    ...(vni === undefined ? {} : { vni }),
  };
}

function parseMacvtap(identity: NicIdentity, macvtap: Macvtap, field: string): MacvtapNic {
  return {
    type: "macvtap",
    ...identity,
    deviceName: parseDeviceName(macvtap.deviceName, `${field}.device_name`),
    parent: parseDeviceName(macvtap.parent, `${field}.parent`),
    mode: parseWord(MACVTAP_MODES, macvtap.mode, `${field}.mode`),
  };
}

function parseWord<Word extends string>(
  numbers: { readonly [W in Word]: number },
  number: number,
  field: string,
): Word {
  const words = Object.keys(numbers) as Word[];
  const word = words.find((name) => numbers[name] === number);
  if (word !== undefined) return word;
  throw unknownEnum(field, number, `One of these is required: ${words.join(", ")}.`);
}

function parseRoutedTap(identity: NicIdentity, tap: RoutedTap, field: string): RoutedTapNic {
  return {
    type: "routedTap",
    ...identity,
    deviceName: parseDeviceName(tap.deviceName, `${field}.device_name`),
    hostAddresses: tap.hostAddresses.map((text, at) => parseIpPrefix(text, `${field}.host_addresses[${at}]`)),
    routes: tap.routes.map((text, at) => parseIpPrefix(text, `${field}.routes[${at}]`)),
  };
}

/** The same definition as the contract has it. */
export function toNicMessage(nic: NicDefinition): NicMessage {
  const { additionalMacAddresses = [], guestAddresses = [], macAddress, nicId } = nic;
  return {
    nicId,
    macAddress,
    device: toDeviceMessage(nic),
    additionalMacAddresses: [...additionalMacAddresses],
    guestAddresses: [...guestAddresses],
  };
}

function toDeviceMessage(nic: NicDefinition): NonNullable<NicMessage["device"]> {
  switch (nic.type) {
    case "tapOnBridge":
      return {
        $case: "tapOnBridge",
        value: {
          deviceName: nic.deviceName,
          bridge: nic.bridge,
          macTableManager: MAC_TABLE_MANAGERS[nic.macTableManager],
          entryMobility: ENTRY_MOBILITIES[nic.sticky],
          vlans: [...(nic.vlans ?? [])],
          multicastGroups: [...(nic.multicastGroups ?? [])],
          vxlan: nic.vxlan === undefined ? undefined : { vni: undefined, ...nic.vxlan },
        },
      };
    case "macvtap": {
      const { deviceName, mode, parent } = nic;
      return { $case: "macvtap", value: { deviceName, parent, mode: MACVTAP_MODES[mode] } };
    }
    case "routedTap": {
      const { deviceName, hostAddresses, routes } = nic;
      return {
        $case: "routedTap",
        value: { deviceName, hostAddresses: [...hostAddresses], routes: [...routes] },
      };
    }
    case "unmanaged":
      return { $case: "unmanaged", value: { kind: UNMANAGED_KINDS[nic.kind] } };
  }
}
