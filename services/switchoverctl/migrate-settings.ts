import { randomUUID } from "node:crypto";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationRequest } from "../../proto/gen/switchover/v1/migration_service.ts";
import { parseGuestId, parseHostId, parseInstanceId } from "../../proto/ids.ts";
import { parseBytes, parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, optional, required, several, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { AT_DEADLINE, deadlineFaults, deadlineOf } from "./deadline-settings.ts";
import { labelsOf, parseLabel } from "./label.ts";
import {
  COMMON_ENVIRONMENT,
  COMMON_SETTINGS,
  parseMode,
  parsePriority,
  parseRequestId,
  STAYING,
} from "./settings.ts";

/** QEMU's limit of `downtime-limit`. */
const DOWNTIME_LIMIT_MOST_MS = 2_000_000;

export const MIGRATE_SETTINGS = {
  guest: required(parseGuestId, { placeholder: "ID", help: "The guest to move" }),
  from: required(parseHostId, { placeholder: "HOST", help: "Where it runs" }),
  to: required(parseHostId, { placeholder: "HOST", help: "Where it shall run" }),
  mode: withDefault(parseMode, "live", { placeholder: "MODE", help: "live or post-copy" }),
  "from-instance": optional(parseInstanceId, "not needed where there is one", {
    placeholder: "ID",
    help: "The guest's instance on the source",
  }),
  "to-instance": optional(parseInstanceId, "not needed where there is one", {
    placeholder: "ID",
    help: "The guest's instance on the destination",
  }),
  "request-id": optional(parseRequestId, "default random", {
    placeholder: "ID",
    help: "Makes the request idempotent: the same id gets the same migration",
  }),
  "max-bandwidth": optional(parseBytes, "QEMU's default", {
    placeholder: "BYTES",
    help: "Bytes per second, as in 30M",
  }),
  "downtime-limit": optional(parseWhole(1, DOWNTIME_LIMIT_MOST_MS), "QEMU's default", {
    placeholder: "MS",
    help: "The longest stop to aim at",
  }),
  multifd: optional(parseWhole(1, 255), "one stream", {
    placeholder: "N",
    help: "Parallel streams; live mode only",
  }),
  "auto-converge": onOff("Slow the guest down until the copy converges"),
  "post-copy-after-passes": optional(parseWhole(1, 1_000_000), "at once", {
    placeholder: "N",
    help: "Move the CPUs after N passes over memory; post-copy mode only",
  }),
  "post-copy-after": optional(parseWhole(1, 86_400_000), "at once", {
    placeholder: "MS",
    help: "Move the CPUs after a time; post-copy mode only",
  }),
  "max-post-copy-bandwidth": optional(parseBytes, "no limit", {
    placeholder: "BYTES",
    help: "Bytes per second once the CPUs have moved",
  }),
  label: several(parseLabel, "none", {
    placeholder: "KEY=VALUE",
    help: "A label that `list` finds the migration by",
  }),
  priority: withDefault(parsePriority, "0", {
    placeholder: "N",
    help: "Of those that wait for their turn, higher ones go first; -100 to 100",
  }),
  deadline: optional(parseWhole(1, 604_800_000), "it may take as long as it takes", {
    placeholder: "MS",
    help: "By when the CPUs are to move, from the request on",
  }),
  "at-deadline": AT_DEADLINE,
  "dry-run": onOff("Check only: tell all that would refuse it, and change nothing"),
  wait: onOff("Show bytes, rate and expected switchover, and stay until the migration has ended"),
  ...COMMON_SETTINGS,
};

export type MigrateValues = Values<typeof MIGRATE_SETTINGS>;

export const MIGRATE_USAGE: UsageText = {
  synopsis: "switchoverctl migrate --guest ID --from HOST --to HOST [flags]",
  purpose:
    "Moves a running guest to another host. Exits with 0 when it is complete (without --wait: when it has begun),\n" +
    "1 when it failed or was cancelled, 2 for a wrong command line, 3 when no coordinator answers.\n" +
    `--wait: ${STAYING}\n` +
    "--dry-run: exits with 0 when nothing refuses it, else with 1; with --json one StartMigrationResponse.\n" +
    "The migration is in the trace that TRACEPARENT and TRACESTATE in the environment name (W3C), where there is one.",
  environment: COMMON_ENVIRONMENT,
  examples: [
    "switchoverctl migrate --guest web-7 --from ha --to hb --wait",
    "switchoverctl migrate --guest web-7 --from ha --to hb --dry-run",
    "switchoverctl migrate --guest web-7 --from ha --to hb --mode post-copy --post-copy-after-passes 2 --wait",
    "switchoverctl migrate --guest web-7 --from ha --to hb --priority 5 --deadline 60000 --wait",
    "switchoverctl migrate --guest web-7 --from ha --to hb --max-bandwidth 500M --downtime-limit 100 --json",
  ],
};

/** Faults that show only when flags are seen together. */
export function checkMigrateValues(values: MigrateValues): readonly Fault[] {
  const faults: Fault[] = [];
  const [passes, afterMs] = [values["post-copy-after-passes"], values["post-copy-after"]];
  if (passes !== undefined && afterMs !== undefined) {
    const sentence = "--post-copy-after-passes and --post-copy-after exclude each other.";
    faults.push({ name: "--post-copy-after", sentence });
  }
  if ((passes ?? afterMs) !== undefined && values.mode !== MigrationMode.POST_COPY) {
    const sentence = "--post-copy-after and --post-copy-after-passes need --mode post-copy.";
    faults.push({ name: "--mode", sentence });
  }
  if (values.multifd !== undefined && values.mode === MigrationMode.POST_COPY) {
    faults.push({ name: "--multifd", sentence: "--multifd needs --mode live." });
  }
  faults.push(...deadlineFaults(values));
  if (values["dry-run"] === "on" && values.wait === "on") {
    faults.push({ name: "--wait", sentence: "--wait and --dry-run exclude each other: nothing begins." });
  }
  return faults;
}

/** The request that the flags ask for. */
export function startRequest(values: MigrateValues): StartMigrationRequest {
  return {
    requestId: values["request-id"] ?? randomUUID(),
    validateOnly: false,
    spec: {
      guestId: values.guest,
      sourceHostId: values.from,
      sourceInstanceId: values["from-instance"] ?? "",
      destinationHostId: values.to,
      destinationInstanceId: values["to-instance"] ?? "",
      mode: values.mode,
      transfer: {
        maxBandwidthBytesPerSecond: values["max-bandwidth"] ?? 0n,
        downtimeLimitMs: values["downtime-limit"] ?? 0,
        multifdChannels: values.multifd ?? 0,
        autoConverge: values["auto-converge"] === "on",
        maxPostCopyBandwidthBytesPerSecond: values["max-post-copy-bandwidth"] ?? 0n,
      },
      postCopy: { trigger: triggerOf(values) },
      labels: labelsOf(values.label),
      priority: values.priority,
      deadline: deadlineOf(values),
    },
  };
}

function triggerOf(values: MigrateValues) {
  const [passes, afterMs] = [values["post-copy-after-passes"], values["post-copy-after"]];
  if (passes !== undefined) return { $case: "afterPasses" as const, value: passes };
  return afterMs === undefined ? undefined : { $case: "afterMs" as const, value: afterMs };
}
