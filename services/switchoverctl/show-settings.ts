import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS, STAYING } from "./settings.ts";

export const SHOW_SETTINGS = COMMON_SETTINGS;
export const WATCH_SETTINGS = COMMON_SETTINGS;

export const SHOW_USAGE: UsageText = {
  synopsis: "switchoverctl show MIGRATION_ID [flags]",
  purpose:
    "Shows a migration as it stands, with the timeline of its switchover; exit codes as those of migrate.",
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl show web-7-mk3v0q8ya1z9", "switchoverctl show web-7-mk3v0q8ya1z9 --json"],
};

export const WATCH_USAGE: UsageText = {
  synopsis: "switchoverctl watch MIGRATION_ID [flags]",
  purpose: `Shows a migration's progress until it has ended; exit codes as those of migrate.\n${STAYING}`,
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl watch web-7-mk3v0q8ya1z9", "switchoverctl watch web-7-mk3v0q8ya1z9 --json"],
};
