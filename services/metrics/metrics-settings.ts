import { parseSocketAddress } from "../config/parsers.ts";
import { optional } from "../config/setting.ts";

/** What every server program can be told of its metrics. */
export const METRICS_SETTINGS = {
  "metrics-listen": optional(parseSocketAddress, "absent: no metrics are served", {
    placeholder: "ADDRESS:PORT",
    help: "Where Prometheus finds /metrics, by plain HTTP; port 0: any free one",
  }),
};
