import { onOff } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS } from "./settings.ts";

export const RECEIPT_SETTINGS = { ...COMMON_SETTINGS, json: onOff("Print proto3 JSON, in one line") };

export const RECEIPT_USAGE: UsageText = {
  synopsis: "switchoverctl receipt MIGRATION_ID [flags]",
  purpose:
    "Shows who asked for a migration that has ended, what happened when on which host, how long each part of it took, for\n" +
    "each NIC too, how well the hosts' clocks compare, and what was tried in vain. Exits with 0 for any that has ended,\n" +
    "however it did; with 1 for one that goes on, or that is not kept any more.",
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl receipt web-7-mk3v0q8ya1z9", "switchoverctl receipt web-7-mk3v0q8ya1z9 --json"],
};
