import { Migration, MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { filterOf, type ListValues } from "./list-settings.ts";
import { renderTable } from "./table.ts";
import { endingOf } from "./timeline.ts";

/** A page of the size that a message holds in any case. */
const PAGE_SIZE = 100;

export async function list(values: ListValues, ports: CommandPorts): Promise<number> {
  const migrations: Migration[] = [];
  const filter = filterOf(values, Date.now());
  for (let pageToken = "", isLast = false; !isLast && migrations.length < values.limit; ) {
    const pageSize = Math.min(PAGE_SIZE, values.limit - migrations.length);
    const page = await ports.client.list({ filter, pageSize, pageToken });
    migrations.push(...page.migrations);
    pageToken = page.nextPageToken;
    isLast = pageToken === "" || ports.signal.aborted;
  }
  ports.display.rows(
    migrations.map((migration) => Migration.toJSON(migration)),
    () => (migrations.length === 0 ? "There are none." : renderTable(HEADINGS, migrations.map(rowOf))),
  );
  return EXIT_CODES.done;
}

const HEADINGS = ["MIGRATION", "FROM", "TO", "MODE", "ASKED FOR", "LABELS", "STATE"];

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
    endingOf(migration),
  ];
}
