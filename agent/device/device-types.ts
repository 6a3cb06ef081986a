import type { DeviceType } from "./device.ts";
import { macvtap } from "./macvtap/device-type.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { routedTap } from "./routed-tap/device-type.ts";
import { tapOnBridge } from "./tap-on-bridge/device-type.ts";
import { unmanaged } from "./unmanaged/device-type.ts";

/** The device types by name: a new one is a file of its own and a line here. */
const DEVICE_TYPES: {
  readonly [T in NicDefinition["type"]]: DeviceType<Extract<NicDefinition, { type: T }>>;
} = {
  macvtap,
  routedTap,
  tapOnBridge,
  unmanaged,
};

/** The type of a NIC's device. */
export function deviceTypeOf(nic: NicDefinition): DeviceType<NicDefinition> {
  // The table pairs each name with the type of that name, which the compiler cannot follow through the index.
  return DEVICE_TYPES[nic.type] as DeviceType<NicDefinition>;
}

/** The proto's names of all device types, sorted. */
export const DEVICE_TYPE_FIELDS: readonly string[] = Object.values(DEVICE_TYPES)
  .map(({ field }) => field)
  .sort();
