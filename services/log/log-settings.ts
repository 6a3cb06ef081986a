import { parseLogLevel } from "../config/parsers.ts";
import { withDefault } from "../config/setting.ts";

/** What every server program can be told of its log. */
export const LOG_SETTINGS = {
  "log-level": withDefault(parseLogLevel, "info", {
    placeholder: "LEVEL",
    help: "debug, info, warn or error",
  }),
};
