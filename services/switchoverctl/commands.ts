import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import type { CoordinatorClient } from "./coordinator-client.ts";
import type { Display } from "./display.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { type MigrateValues, startRequest } from "./migrate-settings.ts";

/** What each command does; returns the exit code, throws SwitchoverError. */
export interface CommandPorts {
  readonly client: Pick<CoordinatorClient, keyof CoordinatorClient>;
  readonly display: Display;
  /** The trace that whoever runs the command is in; the migration that it asks for is in that, too. */
  readonly trace?: GivenTrace | undefined;
  /** Aborts when the person wants to go; a migration goes on without them. */
  readonly signal: AbortSignal;
  /** Whether a person stands by a statement that nobody can check. */
  confirm(statement: string): Promise<boolean>;
}

export async function migrate(values: MigrateValues, ports: CommandPorts): Promise<number> {
  if (values["dry-run"] === "on") return validate(values, ports);
  const migration = await ports.client.start(startRequest(values), ports.trace);
  ports.display.progress(migration);
  if (values.wait === "on") return watch(migration.migrationId, ports, migration);
  ports.display.note(`Migration ${migration.migrationId} has begun.`);
  return EXIT_CODES.done;
}

async function validate(values: MigrateValues, { client, display }: CommandPorts): Promise<number> {
  const answer = await client.validate(startRequest(values));
  display.validation(answer);
  return answer.refusals.length === 0 ? EXIT_CODES.done : EXIT_CODES.failed;
}

export async function show(migrationId: string, ports: CommandPorts): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const migration = await ports.client.get(migrationId);
  ports.display.end(migration);
  return exitCodeOf(migration) ?? EXIT_CODES.done;
}

export async function watch(
  migrationId: string,
  ports: CommandPorts,
  shown: Migration | null = null,
): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  for await (const migration of ports.client.watch(migrationId, ports.signal, shown)) {
    const exitCode = exitCodeOf(migration);
    if (exitCode === undefined) {
      ports.display.progress(migration);
      continue;
    }
    ports.display.end(migration);
    return exitCode;
  }
  // The coordinator ended the stream without an end of the migration: as good as not answered.
  return EXIT_CODES.unreachable;
}
