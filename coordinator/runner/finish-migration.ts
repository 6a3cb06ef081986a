import { SwitchoverError } from "../../proto/error.ts";
import { type CompleteState, completeState, withFacts } from "../migration/complete-state.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { compareAndSet } from "../record/compare-and-set.ts";
import { commitState } from "../record/guest-record.ts";
import type { StoredRecord } from "../record/record-store.ts";
import { PhaseOutbox } from "./phase-outbox.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

/** The ended migration of a record that the feed or the history may still lack; null where nothing is left to do. */
export function unfinishedIn(stored: StoredRecord): CompleteState | null {
  const { migration } = stored.record;
  if (migration === undefined || migration.archived) return null;
  const state = completeState(migration);
  return isTerminal(state.migration.phase) ? state : null;
}

/**
 * Does what is left after a migration's end: the feed holds all its phases, the history holds the migration, and
 * the record says so. Idempotent, and harmless where another coordinator does the same. Returns the record as it
 * stands then; rejects where the store, or with the signal the feed, cannot be reached.
 */
export async function finishMigration(
  stored: StoredRecord,
  ports: Pick<RunnerPorts, "store" | "feed" | "clock" | "log" | "meter">,
  limits: RunnerLimits,
  signal: AbortSignal,
): Promise<StoredRecord> {
  const state = unfinishedIn(stored);
  if (state === null) return stored;
  const outbox = new PhaseOutbox(state, ports, limits, signal);
  await outbox.flush(state);
  if (signal.aborted) {
    throw new SwitchoverError("CANCELLED", "The end of a migration was not brought to the feed yet.", {
      reason: "SHUTTING_DOWN",
    });
  }
  const finished: CompleteState = withFacts(state, { publishedPhases: outbox.published, archived: true });
  await ports.store.archive(finished);
  const written = await compareAndSet(ports.store, commitState(stored.record, finished), stored);
  if (written.t === "written" && written.by === "us") ports.meter?.ended(finished);
  return written.stored ?? stored;
}
