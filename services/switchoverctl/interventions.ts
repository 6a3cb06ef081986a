import { SwitchoverError } from "../../proto/error.ts";
import { type Migration, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { type InterventionValues, type ResolveValues, resolutionIn } from "./intervention-settings.ts";

/** What the commands do that ask something of a migration that has begun; each returns the exit code. */
type Intervention = (values: InterventionValues, migrationId: string, ports: CommandPorts) => Promise<number>;

/** The exit code once a state says how it went; undefined while that is open. */
type Judgement = (migration: Migration) => number | undefined;

export const cancel: Intervention = (values, migrationId, ports) =>
  ask(values, migrationId, ports, {
    call: () => ports.client.cancel(migrationId),
    note: "It is asked to stay where it is.",
    judge: hasStayed,
  });

export const switchToPostCopy: Intervention = (values, migrationId, ports) =>
  ask(values, migrationId, ports, {
    call: () => ports.client.switchToPostCopy(migrationId),
    note: "Its CPUs are to move now.",
    judge: exitCodeOf,
  });

export const pause: Intervention = (values, migrationId, ports) =>
  ask(values, migrationId, ports, {
    call: () => ports.client.pause(migrationId),
    note: "Its transfer is to pause until it is recovered.",
    judge: isPaused,
  });

export const recover: Intervention = (values, migrationId, ports) =>
  ask(values, migrationId, ports, {
    call: () => ports.client.recover(migrationId),
    note: "Its transfer is to be recovered.",
    judge: exitCodeOf,
  });

export async function resolve(
  values: ResolveValues,
  migrationId: string,
  ports: CommandPorts,
): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const { spec } = await ports.client.get(migrationId);
  const deadHostIds = [
    ...(values["source-dead"] === "on" ? [spec?.sourceHostId ?? ""] : []),
    ...(values["destination-dead"] === "on" ? [spec?.destinationHostId ?? ""] : []),
  ];
  const statement = statementOf(deadHostIds, values["guest-lost"], spec?.guestId ?? "");
  if (statement !== "" && values.yes === "off" && !(await ports.confirm(statement))) {
    throw new SwitchoverError("INVALID_ARGUMENT", "Nothing was stated: it was not confirmed (see --yes).", {
      reason: "NOT_CONFIRMED",
      field: "--yes",
    });
  }
  const resolution = resolutionIn(values);
  return ask(values, migrationId, ports, {
    call: () => ports.client.resolve({ migrationId, deadHostIds, resolution }),
    note: "It is stated.",
    judge: exitCodeOf,
  });
}

/** Only what would be false harm is to be confirmed; empty where the right to run still moves by an agent's word alone. */
function statementOf(deadHostIds: readonly string[], guestLost: "on" | "off", guestId: string): string {
  const dead = deadHostIds.map(
    (hostId) =>
      `Host ${hostId} is dead: powered off, and nothing runs there. If it is not, the guest may run twice.`,
  );
  const lost = guestLost === "on" ? [`Guest ${guestId} is given up, wherever it is.`] : [];
  return [...dead, ...lost].join("\n");
}

async function ask(
  values: InterventionValues,
  migrationId: string,
  ports: CommandPorts,
  asked: { readonly call: () => Promise<Migration>; readonly note: string; readonly judge: Judgement },
): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const { client, display, signal } = ports;
  const migration = await asked.call();
  display.progress(migration);
  if (values.wait === "off") {
    display.note(asked.note);
    return EXIT_CODES.done;
  }
  for await (const next of client.watch(migrationId, signal)) {
    const exitCode = asked.judge(next);
    if (exitCode === undefined) {
      display.progress(next);
      continue;
    }
    display.end(next);
    return exitCode;
  }
  return EXIT_CODES.unreachable;
}

/** One that ended before it could be paused has not been. */
function isPaused(migration: Migration): number | undefined {
  if (migration.phase === Phase.POST_COPY_PAUSED) return EXIT_CODES.done;
  return exitCodeOf(migration) === undefined ? undefined : EXIT_CODES.failed;
}

/** Cancelled in time, or failed and left where it was. */
function hasStayed(migration: Migration): number | undefined {
  if (exitCodeOf(migration) === undefined) return undefined;
  const { outcome } = migration;
  const stayed = outcome === Outcome.RUNS_ON_SOURCE || outcome === Outcome.PAUSED_ON_SOURCE;
  return stayed ? EXIT_CODES.done : EXIT_CODES.failed;
}
