import { onOff } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS } from "./settings.ts";

export const EXPLAIN_SETTINGS = { ...COMMON_SETTINGS, json: onOff("Print JSON, in one line") };

export const EXPLAIN_USAGE: UsageText = {
  synopsis: "switchoverctl explain MIGRATION_ID [flags]",
  purpose:
    "Says what a migration waits for and on whom, what happens by the clock if nothing else does, when both hosts were\n" +
    "heard of last, who has to act if anybody has to, and what to type next; of one that has ended, how. With --json one\n" +
    "object: phase, sinceUnixUs, inPhaseMs, outcome, waitsFor, waitsOnHosts, reason, reasonCode, queuePosition, deadlines, hosts,\n" +
    "toAct (nobody, operator, caller, control plane or guest's owner), action, next.\n" +
    "Exits with 0 whatever the migration has come to, 1 when there is no such migration, 2 for a wrong command line, 3 when\n" +
    "no coordinator answers.",
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl explain web-7-mk3v0q8ya1z9", "switchoverctl explain web-7-mk3v0q8ya1z9 --json"],
};
