import { SwitchoverError } from "../../proto/error.ts";
import { Migration, MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { CommandPorts } from "./commands.ts";
import { WATCH_UNREACHABLE_S } from "./coordinator-client.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { filterOf, type ListValues } from "./list-settings.ts";
import { progressLine } from "./progress-line.ts";
import { renderTable } from "./table.ts";
import { endingOf } from "./timeline.ts";

/** A page of the size that a message holds in any case. */
const PAGE_SIZE = 100;
/** A coordinator goes through all that is kept for each. */
const WATCH_EVERY_MS = 2_000;

export async function list(values: ListValues, ports: CommandPorts): Promise<number> {
  if (values.watch === "on") return watchList(values, ports);
  const migrations = await findAll(values, ports);
  ports.display.rows(
    migrations.map((migration) => Migration.toJSON(migration)),
    () => tableOf(migrations),
  );
  return EXIT_CODES.done;
}

/** Shows the list anew every 2 s, until the person goes, or no coordinator has answered for 30 s. */
export async function watchList(
  values: ListValues,
  ports: CommandPorts,
  everyMs = WATCH_EVERY_MS,
): Promise<number> {
  for (let heardAtMs = performance.now(); !ports.signal.aborted; ) {
    try {
      ports.display.screen(tableOf(await findAll(values, ports)));
      heardAtMs = performance.now();
    } catch (thrown) {
      const { code, message } = SwitchoverError.from(thrown);
      const isGivenUp = performance.now() - heardAtMs > WATCH_UNREACHABLE_S * 1_000;
      if (code !== "UNAVAILABLE" || isGivenUp) throw thrown;
      ports.display.screen(`No coordinator answers, trying on for ${WATCH_UNREACHABLE_S} s: ${message}`);
    }
    await pause(everyMs, ports.signal);
  }
  return EXIT_CODES.done;
}

async function findAll(values: ListValues, { client, signal }: CommandPorts): Promise<readonly Migration[]> {
  const migrations: Migration[] = [];
  const filter = filterOf(values, Date.now());
  for (let pageToken = "", isLast = false; !isLast && migrations.length < values.limit; ) {
    const pageSize = Math.min(PAGE_SIZE, values.limit - migrations.length);
    const page = await client.list({ filter, pageSize, pageToken });
    migrations.push(...page.migrations);
    pageToken = page.nextPageToken;
    isLast = pageToken === "" || signal.aborted;
  }
  return migrations;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end);
  });
}

const HEADINGS = ["MIGRATION", "FROM", "TO", "MODE", "ASKED FOR", "LABELS", "STATE"];

function tableOf(migrations: readonly Migration[]): string {
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
