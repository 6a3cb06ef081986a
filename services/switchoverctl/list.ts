import { Migration, MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationFilter } from "../../proto/gen/switchover/v1/migration_service.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { filterOf, type ListValues } from "./list-settings.ts";
import { progressLine } from "./progress-line.ts";
import { showAnew } from "./show-anew.ts";
import { renderTable } from "./table.ts";
import { endingOf } from "./timeline.ts";

/** A page of the size that a message holds in any case. */
const PAGE_SIZE = 100;

export async function list(values: ListValues, ports: CommandPorts): Promise<number> {
  if (values.watch === "on") return watchList(values, ports);
  const migrations = await findAll(values, ports);
  ports.display.rows(
    migrations.map((migration) => Migration.toJSON(migration)),
    () => migrationTable(migrations),
  );
  return EXIT_CODES.done;
}

/** Shows the list anew every 2 s, until the person goes, or no coordinator has answered for 30 s. */
export async function watchList(values: ListValues, ports: CommandPorts, everyMs?: number): Promise<number> {
  await showAnew(async () => migrationTable(await findAll(values, ports)), ports, everyMs);
  return EXIT_CODES.done;
}

function findAll(values: ListValues, ports: CommandPorts): Promise<readonly Migration[]> {
  return findMigrations(filterOf(values, Date.now()), values.limit, ports);
}

/** Turns pages until there are as many, or no more. */
export async function findMigrations(
  filter: MigrationFilter,
  limit: number,
  { client, signal }: CommandPorts,
): Promise<readonly Migration[]> {
  const migrations: Migration[] = [];
  for (let pageToken = "", isLast = false; !isLast && migrations.length < limit; ) {
    const pageSize = Math.min(PAGE_SIZE, limit - migrations.length);
    const page = await client.list({ filter, pageSize, pageToken });
    migrations.push(...page.migrations);
    pageToken = page.nextPageToken;
    isLast = pageToken === "" || signal.aborted;
  }
  return migrations;
}

const HEADINGS = ["MIGRATION", "FROM", "TO", "MODE", "ASKED FOR", "LABELS", "STATE"];

/** One row a migration. Pure. */
export function migrationTable(migrations: readonly Migration[]): string {
  return migrations.length === 0 ? "There are none." : renderTable(HEADINGS, migrations.map(rowOf));
}

function rowOf(migration: Migration): readonly string[] {
  const { spec, requestedAtUnixUs } = migration;
  return [
    migration.migrationId,
    spec?.sourceHostId ?? "",
    spec?.destinationHostId ?? "",
    spec?.mode === MigrationMode.POST_COPY ? "post-copy" : "live",
    `${new Date(Number(requestedAtUnixUs / 1_000n)).toISOString().slice(0, 19)}Z`,
    Object.entries(spec?.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    exitCodeOf(migration) === undefined ? progressLine(migration) : endingOf(migration),
  ];
}
