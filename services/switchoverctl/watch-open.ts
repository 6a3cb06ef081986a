import { SwitchoverError } from "../../proto/error.ts";
import { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationFilter, Standing } from "../../proto/gen/switchover/v1/migration_service.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { findMigrations, migrationTable } from "./list.ts";
import { showAnew } from "./show-anew.ts";
import { endingOf } from "./timeline.ts";

/** More are no table for a person; `list --open --limit` shows them. */
const OPEN_AT_MOST = 1_000;
/** How many of those that have ended meanwhile stay in sight. */
const ENDED_AT_MOST = 10;

/**
 * Shows all open migrations anew every 2 s, and below them those that have ended since; as JSON each state of each one
 * once. Until the person goes, or no coordinator has answered for 30 s.
 */
export async function watchOpen(
  form: "text" | "json",
  ports: CommandPorts,
  everyMs?: number,
): Promise<number> {
  const filter = MigrationFilter.create({ standing: Standing.OPEN });
  let open: readonly Migration[] = [];
  let ended: readonly Migration[] = [];
  await showAnew(
    async () => {
      const found = await findMigrations(filter, OPEN_AT_MOST, ports);
      const news = [...found, ...(await endingsOf(open, found, ports))].filter((one) => isNews(one, open));
      ended = [...ended, ...news.filter((one) => !found.includes(one))].slice(-ENDED_AT_MOST);
      open = found;
      if (form === "text") return tableOf(open, ended);
      ports.display.rows(
        news.map((one) => Migration.toJSON(one)),
        () => "",
      );
      return null;
    },
    ports,
    everyMs,
  );
  return EXIT_CODES.done;
}

/** Those that were open and are not any more, as they ended; not those that newer ones left no place for. */
async function endingsOf(
  before: readonly Migration[],
  now: readonly Migration[],
  { client }: CommandPorts,
): Promise<readonly Migration[]> {
  const left = before.filter(({ migrationId }) => !now.some((one) => one.migrationId === migrationId));
  const states = await Promise.all(left.map(({ migrationId }) => lastState(client, migrationId)));
  return states.filter((state) => state !== null).filter((state) => exitCodeOf(state) !== undefined);
}

/** Null where retention has taken it out already. */
async function lastState(client: CommandPorts["client"], migrationId: string): Promise<Migration | null> {
  try {
    return await client.get(migrationId);
  } catch (thrown) {
    if (SwitchoverError.from(thrown).code === "NOT_FOUND") return null;
    throw thrown;
  }
}

function isNews(one: Migration, shown: readonly Migration[]): boolean {
  const before = shown.find(({ migrationId }) => migrationId === one.migrationId);
  return (
    before === undefined || JSON.stringify(Migration.toJSON(before)) !== JSON.stringify(Migration.toJSON(one))
  );
}

function tableOf(open: readonly Migration[], ended: readonly Migration[]): string {
  const table = open.length === 0 ? "No migration is open." : migrationTable(open);
  if (ended.length === 0) return table;
  const lines = ended.map((one) => `${one.migrationId}: ${endingOf(one)}`);
  return [table, "", "Ended meanwhile:", ...lines].join("\n");
}
