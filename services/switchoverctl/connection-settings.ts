import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseNatsUrl, parsePath, parseTarget } from "../config/parsers.ts";
import { CONFIG_SETTING } from "../config/program-settings.ts";
import { optional } from "../config/setting.ts";
import { TLS_SETTINGS } from "../tls/tls-settings.ts";

/** Whom to ask: what the configuration file may say. Each command has those of them that it uses, with its own words. */
export const CONNECTION_SETTINGS = {
  coordinator: optional(parseTarget, "none", { placeholder: "TARGET", help: "Coordinator" }),
  agent: optional(parseTarget, "none", { placeholder: "TARGET", help: "One host's agent" }),
  "nats-url": optional(parseNatsUrl, "none", { placeholder: "URL", help: "NATS servers" }),
  ...TLS_SETTINGS,
};

const FILE_NAME = join("switchover", "switchoverctl.yaml");
const SYSTEM_FILE = join("/etc", FILE_NAME);

/** What every command can be told beside its own settings. */
export const CONFIG_SETTINGS = {
  [CONFIG_SETTING]: optional(parsePath, "default places: see switchoverctl --help", {
    placeholder: "PATH",
    help: "File of whom to ask, and how, in YAML or JSON; flags and the environment win over it",
  }),
};

/** The file that counts where no flag names one: a person's own, else the machine's; undefined where neither is there. */
export function defaultConfigPath(
  environment: Readonly<Record<string, string | undefined>>,
  exists: (path: string) => boolean = existsSync,
): string | undefined {
  const { XDG_CONFIG_HOME: configHome = "", HOME: home = "" } = environment;
  const folder = configHome === "" && home !== "" ? join(home, ".config") : configHome;
  const own = folder === "" ? [] : [join(folder, FILE_NAME)];
  return [...own, SYSTEM_FILE].find(exists);
}
