import { resolve } from "node:path";
import { SwitchoverError } from "../../proto/error.ts";
import { type BackupEntry, faultIn } from "../backup/backup-line.ts";
import { type CheckedBackup, checkBackup, readBackup } from "../backup/read-backup.ts";
import { type Restored, restoreEntries } from "../backup/restore-backup.ts";
import { writeBackup } from "../backup/write-backup.ts";
import { NatsBackupStore } from "../nats/backup-store.ts";
import type { NatsLink } from "../nats/connection.ts";
import { ensureStores } from "../nats/streams.ts";
import type { BackupValues, RestoreValues } from "./backup-settings.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";

/** Writes all that coordinators keep to a new file. */
export async function backup(
  values: BackupValues,
  file: string,
  link: NatsLink,
  screen: Screen,
): Promise<number> {
  const store = new NatsBackupStore(link);
  // Before the records: what the feed tells of them later is newer than this.
  const feedLastSequence = await store.feedLastSequence();
  const head = { createdAt: new Date().toISOString(), feedLastSequence };
  const leftOut: string[] = [];
  const entries = usable(store.entries(), ({ bucket, key }) => leftOut.push(`${bucket}/${key}`));
  const counts = await writeBackup(resolve(file), head, entries);
  const text = [
    `${counts.guests} guests and ${counts.migrations} ended migrations are in ${file}.`,
    ...leftOut.map((name) => `${name} cannot be read, by coordinators neither, and is left out.`),
  ].join("\n");
  say(screen, values, { file: resolve(file), ...counts, leftOut }, text);
  return EXIT_CODES.done;
}

/** What could not be restored would make the whole backup one that is refused. */
async function* usable(
  entries: AsyncIterable<BackupEntry>,
  onUnusable: (entry: BackupEntry) => void,
): AsyncGenerator<BackupEntry, void, undefined> {
  for await (const entry of entries) {
    if (faultIn(entry) === null) yield entry;
    else onUnusable(entry);
  }
}

export interface RestorePorts {
  readonly link: NatsLink;
  readonly screen: Screen;
  /** Whether a person stands by what was said. */
  confirm(statement: string): Promise<boolean>;
}

/** Checks the whole file, says what would be done, asks, and does it. */
export async function restore(values: RestoreValues, file: string, ports: RestorePorts): Promise<number> {
  const { link, screen, confirm } = ports;
  const path = resolve(file);
  const checked = await checkBackup(path);
  const store = new NatsBackupStore(link);
  const standing = await store.count();
  if (standing > 0 && values["into-existing"] === "off") throw notEmpty(standing);
  const plan =
    standing === 0
      ? { restored: checked.guests + checked.migrations, kept: 0 }
      : await restoreEntries(store, readBackup(path), "trial");
  if (values["dry-run"] === "on") {
    say(screen, values, { dryRun: true, ...plan }, planText(checked, plan));
    return EXIT_CODES.done;
  }
  if (values.yes === "off" && !(await confirm(planText(checked, plan)))) {
    throw new SwitchoverError("INVALID_ARGUMENT", "Nothing was restored: it was not confirmed (see --yes).", {
      reason: "NOT_CONFIRMED",
      field: "--yes",
    });
  }
  await ensureStores(await link.whenReachable(STORES_WITHIN_MS), values["nats-replicas"]);
  const done = await restoreEntries(store, readBackup(path), "write");
  say(screen, values, { ...done }, `${done.restored} records are restored, ${done.kept} stay as they are.`);
  return EXIT_CODES.done;
}

const STORES_WITHIN_MS = 5_000;

function planText({ head, guests, migrations }: CheckedBackup, { restored, kept }: Restored): string {
  return [
    `The backup of ${head.createdAt} is whole: ${guests} guests and ${migrations} ended migrations.`,
    `${restored} of these records would be written, ${kept} stay as they are in NATS.`,
    `The feed stood at ${head.feedLastSequence}; it is not in the backup.`,
  ].join("\n");
}

function notEmpty(standing: number): SwitchoverError {
  const sentence = `NATS holds ${standing} records already; with --into-existing what is newer there stays.`;
  return new SwitchoverError("FAILED_PRECONDITION", sentence, { reason: "NATS_NOT_EMPTY" });
}

function say(screen: Screen, { json }: BackupValues, object: object, text: string): void {
  screen.write(json === "on" ? `${JSON.stringify(object)}\n` : `${text}\n`);
}
