import type { Values } from "../config/read-settings.ts";
import { onOff } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS } from "./settings.ts";

/** Of these commands a line of JSON is a host. */
const HOST_JSON = { json: onOff("Print proto3 JSON, one host a line") };

export const HOSTS_SETTINGS = { ...COMMON_SETTINGS, ...HOST_JSON };
export const HOST_SETTINGS = { ...COMMON_SETTINGS, ...HOST_JSON };

export type HostsValues = Values<typeof HOSTS_SETTINGS>;

export const HOSTS_USAGE: UsageText = {
  synopsis: "switchoverctl hosts [flags]",
  purpose:
    "Lists the hosts whose agents live, by id. LACKS is what this switchoverctl knows of and the agent does not: it is\n" +
    "older. A migration that needs what an agent lacks is refused at its start.\n" +
    "Exits with 0, 2 for a wrong command line, 3 when no coordinator answers.",
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl hosts", "switchoverctl hosts --json"],
};

export const HOST_USAGE: UsageText = {
  synopsis: "switchoverctl host HOST_ID [flags]",
  purpose:
    "Shows one host whose agent lives, with all that the agent knows. Exits with 1 where no agent speaks for it.",
  environment: COMMON_ENVIRONMENT,
  examples: ["switchoverctl host ha", "switchoverctl host ha --json"],
};
