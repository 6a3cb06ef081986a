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
  synopsis: "switchoverctl watch [MIGRATION_ID] [flags]",
  purpose:
    "Shows a migration's progress until it has ended, on a terminal in one line: how much of the guest is copied, at which\n" +
    "rate, and when the switchover is to be expected. Exit codes as those of migrate.\n" +
    "Without MIGRATION_ID: a table of all open migrations, shown anew every 2 s until Ctrl-C, with those that end\n" +
    `meanwhile; with --json each state once. Exits with 0.\n${STAYING}`,
  environment: COMMON_ENVIRONMENT,
  examples: [
    "switchoverctl watch",
    "switchoverctl watch web-7-mk3v0q8ya1z9",
    "switchoverctl watch web-7-mk3v0q8ya1z9 --json",
  ],
};
