import type { DeviceType } from "./device.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { tapOnBridge } from "./tap-on-bridge.ts";

/** The device types by name: a new one is a file of its own and a line here. */
const DEVICE_TYPES: {
  readonly [T in NicDefinition["type"]]: DeviceType<Extract<NicDefinition, { type: T }>>;
} = {
  tapOnBridge,
};

/** The type of a NIC's device. */
export function deviceTypeOf(nic: NicDefinition): DeviceType<NicDefinition> {
  return DEVICE_TYPES[nic.type];
}
