import { SwitchoverError } from "../proto/error.ts";
import type { Migration } from "../proto/gen/switchover/v1/migration.ts";
import { type GuestId, type MigrationId, parseMigrationId } from "../proto/ids.ts";
import type { Ask } from "./migration/asks.ts";
import { type CompleteState, completeState } from "./migration/complete-state.ts";
import { isTerminal } from "./migration/phase-edges.ts";
import type { RecordStore } from "./record/record-store.ts";
import type { MigrationRunner } from "./runner/migration-runner.ts";

export interface InterventionPorts {
  readonly store: RecordStore;
  readonly runner: MigrationRunner;
}

/**
 * Asks something of a migration that has begun, and returns it once that is stored. Any coordinator may be asked: one
 * that does not drive the migration takes it up from the store first, for any number may drive it.
 *
 * NOT_FOUND / MIGRATION_UNKNOWN, FAILED_PRECONDITION / MIGRATION_ENDED for one that has ended otherwise than asked for,
 * and the ask's own refusals; repeated, it is answered like the first time.
 */
export async function intervene(
  ports: InterventionPorts,
  migrationIdText: string,
  askOf: (state: CompleteState) => Ask,
): Promise<Migration> {
  const { migrationId, guestId } = parseMigrationId(migrationIdText, "migration_id");
  const state = await openMigration(ports, guestId, migrationId);
  const ask = askOf(state);
  if (isTerminal(state.migration.phase)) return endedAsAsked(state, ask);
  throwIfRefused(ask, state);
  for (const event of ask.events) {
    const { phase } = ports.runner.stateOf(guestId, migrationId)?.migration ?? state.migration;
    // A dead host may have ended it before the rest of what was stated is told.
    if (!isTerminal(phase)) await ports.runner.tell(guestId, event);
  }
  const after = await openMigration(ports, guestId, migrationId);
  // Something else may have been heard first.
  if (!ask.isSo(after) && !isTerminal(after.migration.phase)) throwIfRefused(ask, after);
  return isTerminal(after.migration.phase)
    ? endedAsAsked(after, ask)
    : (ports.runner.current(guestId, migrationId) ?? after.migration);
}

/**
 * Not older than the store has it: what is asked now may follow on what another coordinator was asked just before. While
 * the store is away, as the coordinator that drives it knows it.
 */
async function openMigration(
  ports: InterventionPorts,
  guestId: GuestId,
  migrationId: MigrationId,
): Promise<CompleteState> {
  try {
    return await storedMigration(ports, guestId, migrationId);
  } catch (thrown) {
    const driven = ports.runner.stateOf(guestId, migrationId);
    if (driven === null || SwitchoverError.from(thrown).code !== "UNAVAILABLE") throw thrown;
    return driven;
  }
}

async function storedMigration(
  { store, runner }: InterventionPorts,
  guestId: GuestId,
  migrationId: MigrationId,
): Promise<CompleteState> {
  const stored = await store.get(guestId);
  const held = stored?.record.migration;
  if (stored !== null && held?.migration?.migrationId === migrationId) {
    return runner.bringUpTo(stored) ?? completeState(held);
  }
  const archived = await store.readArchived(migrationId);
  if (archived !== null) return completeState(archived);
  throw migrationUnknown(migrationId);
}

function endedAsAsked(state: CompleteState, ask: Ask): Migration {
  if (ask.isSo(state)) return state.migration;
  throw new SwitchoverError("FAILED_PRECONDITION", "The migration has ended.", {
    reason: "MIGRATION_ENDED",
    field: "migration_id",
  });
}

function throwIfRefused(ask: Ask, state: CompleteState): void {
  const refusal = ask.refusal(state);
  if (refusal !== null && !ask.isSo(state)) throw refusal;
}

export function migrationUnknown(migrationId: MigrationId): SwitchoverError {
  return new SwitchoverError("NOT_FOUND", `There is no migration ${migrationId}.`, {
    reason: "MIGRATION_UNKNOWN",
    field: "migration_id",
  });
}
