import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { CompleteState } from "./complete-state.ts";
import { isDone, isSettled, isTornApart } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * POST_COPY, POST_COPY_PAUSED, POST_COPY_RECOVERING: the CPUs run at the destination and the remaining pages follow.
 *
 * The destination owns the guest and its address throughout: a pause and a recovery are no new switchover. With
 * the guest on two hosts, losing either loses it.
 */
export function leavePostCopy(state: CompleteState): Phase | null {
  if (state.destination.vmmLost || state.destination.hostDead || isTornApart(state)) return Phase.FAILED;
  if (state.pagesComplete) return Phase.COMPLETING;
  if (state.destination.transferStatus === "failed") return Phase.FAILED;
  const stands = postCopyPhase(state);
  return stands === state.migration.phase ? null : stands;
}

/** By the VMMs' own words; a transfer is as far as the slower side says. */
function postCopyPhase(state: CompleteState): Phase {
  const statuses = [state.source.transferStatus, state.destination.transferStatus];
  if (statuses.includes("postcopy-paused")) return Phase.POST_COPY_PAUSED;
  if (statuses.some((status) => status.startsWith("postcopy-recover"))) return Phase.POST_COPY_RECOVERING;
  return Phase.POST_COPY;
}

export function commandsOfPostCopy(state: CompleteState): readonly MigrationCommand[] {
  return state.pauseWanted && !isSettled(state, "source", "pauseMigration")
    ? [command(state, "source", { name: "pauseMigration" })]
    : [];
}

/** A transfer that keeps breaking is left to a person after so many recoveries. */
const RECOVERIES_AT_MOST = 8;

export function commandsOfPostCopyPaused(state: CompleteState): readonly MigrationCommand[] {
  const pauses = state.migration.phases.filter((entry) => entry.phase === Phase.POST_COPY_PAUSED).length;
  if (pauses > RECOVERIES_AT_MOST) return [];
  const side = isDone(state, "destination", "recoverMigration") ? "source" : "destination";
  return isSettled(state, side, "recoverMigration")
    ? []
    : [command(state, side, { name: "recoverMigration", recoveryUri: state.recoveryUri })];
}
