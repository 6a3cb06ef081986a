import { readFileSync } from "node:fs";
import type { NicDefinition } from "../../agent/device/nic-definition.ts";

/** What Switchover does to a NIC, each from whatever is there. */
export type Deed = "prepare" | "start" | "stop" | "mendRunning" | "mendStanding" | "release";

/** What Switchover did to a NIC last. `stopped` is after a start, which leaves its traces on some. */
export type Standing = "prepared" | "registered" | "stopped" | "released";

/**
 * What the kernel shows of a NIC, by what Switchover did last, one of them where it is several; `stopped` as `prepared`
 * where it is missing.
 */
export type Shown = Readonly<Partial<Record<Standing, string | readonly string[]>>>;

/** What others do to a NIC's device or to the host under it. */
export interface Drift {
  readonly name: string;
  readonly of: "registered" | "prepared";
  readonly happen: () => void | Promise<void>;
  /** What the kernel shows as long as it lasts; as without it where a standing is missing. */
  readonly shown: Shown;
  /** By what Switchover did last, the reason that is given for it; nothing is said where it is missing. */
  readonly said: Readonly<Partial<Record<Standing, string>>>;
  /** What puts it right. */
  readonly endedBy: readonly Deed[];
  /** What cannot be done as long as it lasts. */
  readonly fails?: readonly Deed[];
  /** The device is not there, or not where the definition says: nothing can be armed, and nothing of it started. */
  readonly isAstray?: true;
}

/** The host of a NIC. */
export interface HostOfNic {
  /** What the kernel shows of the NIC, as `ip` and `bridge` themselves tell. */
  readonly read: () => string;
  /** Undoes what others did to the host and what keeps the NIC from being prepared. */
  readonly repair: () => void;
  readonly close: () => void;
  readonly drifts: readonly Drift[];
}

/** A device type with its options: the NIC, the host it needs, and what the kernel shows of it. */
export interface KindOfNic {
  readonly name: string;
  readonly nic: NicDefinition;
  readonly shown: Shown;
  /** Makes the host in the thread's namespace; `elsewhere` is another one, to which devices can go. */
  readonly open: (elsewhere: string) => HostOfNic;
}

/** Each of the deeds. */
export const EVERY_DEED = ["prepare", "start", "stop", "mendRunning", "mendStanding", "release"] as const;

/** Whether the thread's namespace has the device. */
export function exists(deviceName: string): boolean {
  const devices = readFileSync("/proc/thread-self/net/dev", "utf8");
  return devices.split("\n").some((line) => line.trimStart().startsWith(`${deviceName}:`));
}

/** `lines` without the empty ones, as one text. */
export function textOf(...lines: readonly string[]): string {
  return lines.filter((line) => line !== "").join("\n");
}
