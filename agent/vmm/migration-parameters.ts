import { invalidArgument } from "../../proto/error.ts";
import type { JsonObject } from "./qmp-codec.ts";

/** QEMU's MigrationCapability, as far as a migration here uses them; all are in QEMU 7.2 to 10.2. */
export type MigrationCapability =
  | "auto-converge"
  | "dirty-bitmaps"
  | "events"
  | "late-block-activate"
  | "multifd"
  | "pause-before-switchover"
  | "postcopy-preempt"
  | "postcopy-ram"
  | "release-ram"
  | "return-path"
  | "xbzrle"
  | "zero-copy-send";

export interface MigrationCapabilitySetting {
  readonly capability: MigrationCapability;
  readonly enabled: boolean;
}

/** What `migrate-set-parameters` sets; a parameter that is left out keeps its value. */
export interface MigrationParameters {
  /** 0 is no limit; QEMU's default is 128 MiB/s. */
  readonly maxBandwidthBytesPerSecond?: number;
  /** The stop that QEMU may cause at switchover; QEMU's default is 300. */
  readonly downtimeLimitMs?: number;
  readonly multifdChannels?: number;
  /** 0 (QEMU's default) is no limit. Requested pages are never held back. */
  readonly maxPostcopyBandwidthBytesPerSecond?: number;
  /** Auto-converge: first throttle of the guest's CPUs, its step, and its end. */
  readonly cpuThrottleInitialPercent?: number;
  readonly cpuThrottleIncrementPercent?: number;
  readonly maxCpuThrottlePercent?: number;
}

const QEMU_NAMES: readonly (readonly [keyof MigrationParameters, string])[] = [
  ["maxBandwidthBytesPerSecond", "max-bandwidth"],
  ["downtimeLimitMs", "downtime-limit"],
  ["multifdChannels", "multifd-channels"],
  ["maxPostcopyBandwidthBytesPerSecond", "max-postcopy-bandwidth"],
  ["cpuThrottleInitialPercent", "cpu-throttle-initial"],
  ["cpuThrottleIncrementPercent", "cpu-throttle-increment"],
  ["maxCpuThrottlePercent", "max-cpu-throttle"],
];

/** Throws INVALID_ARGUMENT naming the parameter for what is no whole number from 0; QEMU checks its own ranges. */
export function encodeMigrationParameters(parameters: MigrationParameters): JsonObject {
  const args: Record<string, number> = {};
  for (const [field, name] of QEMU_NAMES) {
    const value = parameters[field];
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || value < 0) {
      throw invalidArgument(field, `${field} is ${value}, not a whole number from 0.`, "OUT_OF_RANGE");
    }
    args[name] = value;
  }
  return args;
}
