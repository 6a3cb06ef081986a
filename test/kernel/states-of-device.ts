import { readFileSync } from "node:fs";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import type { HostState } from "./revisit.ts";

/** Makes the world of a device in the thread's namespace; `elsewhere` is another one, to which devices can go. */
export type StatesOfDevice = (
  host: HostDevices,
  elsewhere: string,
) => {
  readonly states: readonly HostState[];
  /** What the kernel shows of the device, as `ip` and `bridge` themselves tell. */
  readonly read: () => string;
  readonly close: () => void;
};

/** Whether the thread's namespace has the device. */
export function exists(deviceName: string): boolean {
  const devices = readFileSync("/proc/thread-self/net/dev", "utf8");
  return devices.split("\n").some((line) => line.trimStart().startsWith(`${deviceName}:`));
}
