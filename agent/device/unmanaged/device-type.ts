import type { DeviceType } from "../device.ts";
import type { UnmanagedNic } from "./definition.ts";

/**
 * Accepted and left alone, so that a guest's definition can name all its NICs: QEMU's own stack (`user`), a switch in
 * another process (`vhostUser`), a physical function (`hostdev`), a vDPA device. Who owns those moves their addresses.
 */
export const unmanaged: DeviceType<UnmanagedNic> = {
  type: "unmanaged",
  field: "unmanaged",
  extras: [],
  check: () => {},
  deviceName: () => undefined,
  segment: () => undefined,
  stands: "byItself",
  linkNames: () => [],
  announceOn: () => [],
  locate: () => ({ found: "yes", place: { deviceIfindex: 0, parentIfindex: 0 } }),
  strayed: () => undefined,
  prepare: {
    refusals: () => [],
    creation: () => undefined,
    plan: () => [],
    judge: () => undefined,
    undo: () => [],
    ownership: () => ({ device: "existing", port: "existing" }),
  },
  start: { plan: () => [], judge: () => ({ result: "nothingToDo" }) },
  stop: { plan: () => [], judge: () => ({ result: "nothingToDo" }) },
  verify: { plan: () => [], judge: () => ({ registration: "unmanaged" }) },
  mend: { hear: () => "agrees", plan: () => [] },
  release: { plan: () => [], judge: () => undefined },
};
