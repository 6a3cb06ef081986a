import { parseNatsUrl, parseWhole } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";

const NATS_SETTINGS = {
  "nats-url": withDefault(parseNatsUrl, "nats://127.0.0.1:4222", {
    placeholder: "URL",
    help: "NATS servers, separated by commas",
  }),
  json: onOff("Print what was done as one JSON object"),
};

export const BACKUP_SETTINGS = NATS_SETTINGS;

export const RESTORE_SETTINGS = {
  "into-existing": onOff("Also where NATS holds records already: what stands there and is as new stays"),
  "dry-run": onOff("Only check the file and say what would be done"),
  yes: onOff("Do it without asking"),
  "nats-replicas": withDefault(parseWhole(1, 5), "1", {
    placeholder: "N",
    help: "Copies of streams and buckets that are made; 3 in a cluster",
  }),
  ...NATS_SETTINGS,
};

export type BackupValues = Values<typeof BACKUP_SETTINGS>;
export type RestoreValues = Values<typeof RESTORE_SETTINGS>;

export const BACKUP_USAGE: UsageText = {
  synopsis: "switchoverctl backup FILE [flags]",
  purpose:
    "Writes all that coordinators keep to a new file: guests' records, with their open migrations, and the history, with\n" +
    "its receipts. Coordinators and migrations go on meanwhile. The feed is not in it: it is kept 7 days, for observers.\n" +
    "Exits with 0 when the file is whole and on the disk, 1 when it is not, 2 where FILE is wrong, 3 without NATS.",
  environment: ["nats-url"],
  examples: [
    "switchoverctl backup /var/backups/switchover-$(date +%F)",
    "switchoverctl backup records --nats-url nats://10.0.0.1:4222,nats://10.0.0.2:4222 --json",
  ],
};

export const RESTORE_USAGE: UsageText = {
  synopsis: "switchoverctl restore FILE [flags]",
  purpose:
    "Brings a backup back. Checks the whole file first, says what would be done, and asks before it does it. Refuses a NATS\n" +
    "that holds records, unless told; nothing there is ever replaced by something older. Coordinators may run meanwhile: they\n" +
    "take open migrations up where the backup has them, and the journals of the agents decide what is so.\n" +
    "Exits with 0 when it is done, 1 when it was refused or broke off (do it again), 2 for a wrong command line, 3 without NATS.",
  environment: ["nats-url"],
  examples: [
    "switchoverctl restore /var/backups/switchover-2026-11-30 --dry-run",
    "switchoverctl restore /var/backups/switchover-2026-11-30 --nats-replicas 3 --yes",
  ],
};
