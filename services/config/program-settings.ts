import { parsePath } from "./parsers.ts";
import { onOff, optional } from "./setting.ts";

/** Names the configuration file, so it is never read from there. */
export const CONFIG_SETTING = "config";

/** What every server program can be told beside its own settings, by flag or environment. */
export const PROGRAM_SETTINGS = {
  [CONFIG_SETTING]: optional(parsePath, "default none", {
    placeholder: "PATH",
    help: "File of settings in YAML or JSON: keys as flags without --; flags, then the environment, win over it",
  }),
  "check-config": onOff("Check the whole configuration, print it with secrets struck out, and end"),
};
