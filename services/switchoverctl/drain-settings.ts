import { randomUUID } from "node:crypto";
import { invalidArgument } from "../../proto/error.ts";
import type { DrainHostRequest } from "../../proto/gen/switchover/v1/drain.ts";
import { type HostId, parseHostId } from "../../proto/ids.ts";
import { parseBytes, parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, optional, required, type Setting, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { AT_DEADLINE, deadlineFaults, deadlineOf } from "./deadline-settings.ts";
import {
  COMMON_ENVIRONMENT,
  COMMON_SETTINGS,
  parseMode,
  parsePriority,
  parseRequestId,
  STAYING,
} from "./settings.ts";

const DESTINATIONS: Setting<readonly HostId[]> = {
  shape: "many",
  placeholder: "HOST",
  help: "Where its guests may go",
  absence: "required; several times",
  read: (texts, flag) => {
    if (texts.length === 0) throw invalidArgument(flag, `${flag} is required.`, "REQUIRED");
    return texts.map((text) => parseHostId(text, flag));
  },
};

export const DRAIN_SETTINGS = {
  host: required(parseHostId, { placeholder: "HOST", help: "The host to evacuate" }),
  to: DESTINATIONS,
  mode: withDefault(parseMode, "live", { placeholder: "MODE", help: "live or post-copy" }),
  "max-parallel": withDefault(parseWhole(1, 100), "2", {
    placeholder: "N",
    help: "How many guests may be on their way at a time",
  }),
  attempts: withDefault(parseWhole(1, 10), "3", {
    placeholder: "N",
    help: "How often a guest is tried whose migration fails",
  }),
  "give-up-after": withDefault(parseWhole(1, 604_800_000), "3600000", {
    placeholder: "MS",
    help: "How long to wait for guests that cannot go",
  }),
  "max-bandwidth": optional(parseBytes, "QEMU's default", {
    placeholder: "BYTES",
    help: "Bytes per second of each migration, as in 30M",
  }),
  priority: withDefault(parsePriority, "0", {
    placeholder: "N",
    help: "Of each migration: of those that wait, higher ones go first; -100 to 100",
  }),
  deadline: optional(parseWhole(1, 604_800_000), "each may take as long as it takes", {
    placeholder: "MS",
    help: "By when a guest's CPUs are to move, from its migration's request on",
  }),
  "at-deadline": AT_DEADLINE,
  "request-id": optional(parseRequestId, "default random", {
    placeholder: "ID",
    help: "Makes the request idempotent: the same id gets the same drain",
  }),
  wait: onOff("Show progress and stay until the drain has ended"),
  ...COMMON_SETTINGS,
};

export const SHOW_DRAIN_SETTINGS = COMMON_SETTINGS;

export const CANCEL_DRAIN_SETTINGS = {
  "cancel-migrations": onOff("Cancel those of its migrations, too, for which it is not too late"),
  ...COMMON_SETTINGS,
};

export type DrainValues = Values<typeof DRAIN_SETTINGS>;
export type CancelDrainValues = Values<typeof CANCEL_DRAIN_SETTINGS>;

const EXAMPLE_ID = "ha-mk3v0q8ya1z9";

export const DRAIN_USAGE: UsageText = {
  synopsis: "switchoverctl drain --host HOST --to HOST [--to HOST ...] [flags]",
  purpose:
    "Moves every guest of a host to other hosts. A guest goes once an instance of it is prepared at one of them (PrepareNics,\n" +
    "its VMM, AdoptGuest); until then the drain says that it waits for that. Any coordinator goes on with it should one\n" +
    "crash. Exits with 0 when no guest is left (without --wait: when it has begun), 1 when some are, 2 for a wrong command\n" +
    `line, 3 when no coordinator answers.\n--wait: ${STAYING}`,
  environment: COMMON_ENVIRONMENT,
  examples: [
    "switchoverctl drain --host ha --to hb --to hc --wait",
    "switchoverctl drain --host ha --to hb --max-parallel 4 --mode post-copy --deadline 60000 --at-deadline post-copy",
  ],
};

export const SHOW_DRAIN_USAGE = drainUsage(
  "show-drain",
  "Shows an evacuation as it stands, with each guest and what it waits for; exit codes as those of drain.",
  ["", " --json"],
);

export const WATCH_DRAIN_USAGE = drainUsage(
  "watch-drain",
  `Shows what changes of an evacuation until it has ended; exit codes as those of drain.\n${STAYING}`,
  ["", " --json"],
);

export const CANCEL_DRAIN_USAGE = drainUsage(
  "cancel-drain",
  "Has no further guest sent away; those on their way come to their end. Exits with 0 when that is stored, 1 when it is\n" +
    "refused, 2 for a wrong command line, 3 when no coordinator answers.",
  ["", " --cancel-migrations"],
);

function drainUsage(command: string, purpose: string, examples: readonly string[]): UsageText {
  return {
    synopsis: `switchoverctl ${command} DRAIN_ID [flags]`,
    purpose,
    environment: COMMON_ENVIRONMENT,
    examples: examples.map((flags) => `switchoverctl ${command} ${EXAMPLE_ID}${flags}`),
  };
}

/** Faults that show only when flags are seen together. */
export function checkDrainValues(values: DrainValues): readonly Fault[] {
  const faults: Fault[] = [];
  if (values.to.includes(values.host)) {
    faults.push({ name: "--to", sentence: "--to: a host is not drained to itself." });
  }
  return [...faults, ...deadlineFaults(values)];
}

/** The request that the flags ask for. */
export function drainRequest(values: DrainValues): DrainHostRequest {
  return {
    requestId: values["request-id"] ?? randomUUID(),
    spec: {
      hostId: values.host,
      destinationHostIds: [...values.to],
      mode: values.mode,
      transfer: {
        maxBandwidthBytesPerSecond: values["max-bandwidth"] ?? 0n,
        downtimeLimitMs: 0,
        multifdChannels: 0,
        autoConverge: false,
        maxPostCopyBandwidthBytesPerSecond: 0n,
      },
      postCopy: undefined,
      maxParallel: values["max-parallel"],
      priority: values.priority,
      deadline: deadlineOf(values),
      attempts: values.attempts,
      giveUpAfterMs: values["give-up-after"],
    },
  };
}
