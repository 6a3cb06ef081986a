import { parseNatsUrl, parseSocketAddress, parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { LOG_SETTINGS } from "../log/log-settings.ts";

export const OBSERVER_SETTINGS = {
  listen: withDefault(parseSocketAddress, "127.0.0.1:7480", {
    placeholder: "ADDRESS:PORT",
    help: "Where the page is served, by plain HTTP and to whoever asks; port 0: any free one",
  }),
  "nats-url": withDefault(parseNatsUrl, "nats://127.0.0.1:4222", {
    placeholder: "URL",
    help: "NATS servers, separated by commas; a user that may only read is enough",
  }),
  "keep-migrations": withDefault(parseWhole(100, 100_000), "10000", {
    placeholder: "N",
    help: "How many migrations are shown; beyond that the oldest ended ones are forgotten",
  }),
  "keep-days": withDefault(parseWhole(1, 3_650), "30", {
    placeholder: "DAYS",
    help: "How long ended migrations, alarms and drift are shown",
  }),
  "replay-events": withDefault(parseWhole(1_000, 10_000_000), "200000", {
    placeholder: "N",
    help: "How many of the feed's newest events are read at the start: where guests are, alarms, drift",
  }),
  "max-readers": withDefault(parseWhole(1, 10_000), "64", {
    placeholder: "N",
    help: "How many pages may be open at a time",
  }),
  ...LOG_SETTINGS,
};

export type ObserverValues = Values<typeof OBSERVER_SETTINGS>;

export const OBSERVER_USAGE: UsageText = {
  synopsis: "switchover-observer [flags]",
  purpose:
    "Serves a web page on what NATS says: migrations now and past, what each switchover cost, hosts and guests.\n" +
    "It reads NATS and nothing else, writes nothing, and answers GET and HEAD alone.",
  environment: "every flag",
  examples: [
    "switchover-observer",
    "switchover-observer --listen 10.0.0.9:7480 --nats-url nats://10.0.0.1:4222,nats://10.0.0.2:4222",
    "switchover-observer --keep-migrations 50000 --keep-days 7",
  ],
};

/** None of its values depends on another. */
export function checkObserverValues(): readonly Fault[] {
  return [];
}
