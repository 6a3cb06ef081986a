import { parseTarget } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, required, type Setting } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";

const REMOVE: Setting<readonly string[]> = {
  shape: "many",
  placeholder: "DEVICE",
  help: "Remove this device and what points to it",
  absence: "several times",
  read: (texts) => texts,
};

export const ORPHANS_SETTINGS = {
  agent: required(parseTarget, { placeholder: "TARGET", help: "The host's agent, HOST:PORT or unix:/PATH" }),
  remove: REMOVE,
  all: onOff("Remove all of them, in place of --remove"),
  "dry-run": onOff("Say what would be removed, and change nothing"),
  json: onOff("Print proto3 JSON, one orphan a line"),
};

export type OrphansValues = Values<typeof ORPHANS_SETTINGS>;

export const ORPHANS_USAGE: UsageText = {
  synopsis: "switchoverctl orphans --agent TARGET [flags]",
  purpose:
    "Shows the devices that an agent made on its host and that no guest it knows uses, with the forwarding entries that\n" +
    "point to them. With --remove or --all it removes them and shows what it removed; without, nothing is changed. What\n" +
    "a guest uses by then, or a process holds open, stays. Exits with 0, 1 when something named stays or is refused,\n" +
    "2 for a wrong command line, 3 when the agent does not answer.",
  environment: ["agent"],
  examples: [
    "switchoverctl orphans --agent 10.0.0.1:7443",
    "switchoverctl orphans --agent 10.0.0.1:7443 --remove web-7-net0 --dry-run",
    "switchoverctl orphans --agent unix:/run/switchover-agent.sock --all",
  ],
};

/** Faults that show only when flags are seen together. */
export function checkOrphansValues(values: OrphansValues): readonly Fault[] {
  const faults: Fault[] = [];
  const removes = values.remove.length > 0;
  if (removes && values.all === "on") {
    faults.push({ name: "--all", sentence: "--remove and --all exclude each other." });
  }
  if (!removes && values.all === "off" && values["dry-run"] === "on") {
    faults.push({ name: "--dry-run", sentence: "--dry-run needs --remove or --all." });
  }
  return faults;
}
