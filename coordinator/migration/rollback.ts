import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, withSide } from "./complete-state.ts";
import {
  failureOf,
  isDone,
  isPostCopyMode,
  isRefused,
  isSettled,
  isSourceLost,
  isSourceSilent,
  isTornApart,
  mayBeArmed,
  mayBePrepared,
  mayHaveBegun,
  withDone,
  withRaisedEpoch,
} from "./facts.ts";
import { commandsToFence } from "./fence-host.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * CANCELLING, ROLLING_BACK: the guest stays where it was. HANDING_BACK: it returns there.
 *
 * The source alone knows whether it still has the right to run, so it is asked first; only its word `kept` lets
 * the destination be aborted. A source that handed off gets the guest back by the destination's word alone, and
 * under a higher epoch.
 */
export function leaveRollback(state: CompleteState): Phase | null {
  if (state.handedOff) return Phase.SWITCHING_OVER;
  if (isSourceSilent(state)) return Phase.AMBIGUOUS;
  if (!isSourceSafe(state) || !isDestinationCleared(state) || !isSourceRunning(state)) return null;
  return state.migration.phase === Phase.CANCELLING ? Phase.CANCELLED : Phase.FAILED;
}

/** Nothing can make the source hand off any more. */
function isSourceSafe(state: CompleteState): boolean {
  if (state.kept || state.source.hostDead || !mayBeArmed(state)) return true;
  // What never began cannot end in a hand-off, whether or not the source could be told.
  return !mayHaveBegun(state) && isSettled(state, "source", "cancelTransfer");
}

/**
 * A destination that cannot be reached may be left uncleared: without the hand-off it never starts the guest, and
 * the next migration's epoch fences it.
 */
function isDestinationCleared(state: CompleteState): boolean {
  return (
    !mayBePrepared(state) || state.destination.hostDead || isSettled(state, "destination", "abortDestination")
  );
}

/** The switchover had stopped a guest that its owner had running. */
function isResumeNeeded(state: CompleteState): boolean {
  const { source } = state;
  return mayHaveBegun(state) && source.cpusStopped && source.runState === "running" && !isSourceLost(state);
}

function isSourceRunning(state: CompleteState): boolean {
  return !isResumeNeeded(state) || isTakenBack(state);
}

/** The source took the guest back, or said that it never will. */
function isTakenBack(state: CompleteState): boolean {
  return (
    state.takenBack || isDone(state, "source", "resumeSource") || isRefused(state, "source", "resumeSource")
  );
}

export function commandsOfRollback(state: CompleteState): readonly MigrationCommand[] {
  if (!isSourceSafe(state)) {
    return isSettled(state, "source", "cancelTransfer")
      ? []
      : [command(state, "source", { name: "cancelTransfer" })];
  }
  if (!isDestinationCleared(state)) return [command(state, "destination", { name: "abortDestination" })];
  return isSourceRunning(state) || isSettled(state, "source", "resumeSource")
    ? []
    : [command(state, "source", { name: "resumeSource" })];
}

export function leaveHandingBack(state: CompleteState): Phase | null {
  if (state.takenOver) return isPostCopyMode(state) ? Phase.POST_COPY : Phase.COMPLETING;
  if (isSourceLost(state) || isTornApart(state)) return Phase.FAILED;
  if (!isBackWithSource(state)) return null;
  if (isNoWayBack(state)) return Phase.SWITCHING_OVER;
  return isTakenBack(state) && isDestinationCleared(state) ? Phase.FAILED : null;
}

/** The destination's word is here, or it will never say another, and the source has an epoch of its own. */
function isBackWithSource(state: CompleteState): boolean {
  return isDone(state, "destination", "handBack");
}

/** The reason with which a source says that its VMM cannot run the guest again. */
export const NO_WAY_BACK = "NO_WAY_BACK";

/**
 * The source cannot use the right that it was given back, so the destination's VMM, kept alive for that, is to
 * start the guest after all. Once: a guest that neither side can start is a person's.
 */
function isNoWayBack(state: CompleteState): boolean {
  const attempts = state.migration.phases.filter((entry) => entry.phase === Phase.HANDING_BACK).length;
  return (
    failureOf(state, "source", "resumeSource")?.reason === NO_WAY_BACK &&
    attempts === 1 &&
    !state.destination.hostDead &&
    !state.destination.vmmLost
  );
}

/** Moves the right to run to the source once the destination's word, or its death, allows it; under a new epoch. */
export function withRightAtSource(state: CompleteState): CompleteState {
  if (state.migration.phase !== Phase.HANDING_BACK || state.takenOver || isBackWithSource(state))
    return state;
  if (!state.handedBack && !state.destination.hostDead) return state;
  return withRaisedEpoch(withDone(state, "destination", "handBack"), state.migration.fence.epoch);
}

/** Moves the right to run to the destination again; under a new epoch, with the word re-issued for it. */
export function withRightAtDestination(state: CompleteState): CompleteState {
  const raised = withRaisedEpoch(state, state.migration.fence.epoch);
  const { done, transferStatus } = raised.destination;
  return {
    ...withSide(raised, "destination", {
      done: done.filter((name) => name !== "handBack"),
      transferStatus: transferStatus === "failed" ? "" : transferStatus,
    }),
    handedBack: false,
    handOffWanted: true,
    handOff: raised.handOff === undefined ? undefined : { ...raised.handOff, fence: raised.migration.fence },
  };
}

export function commandsOfHandingBack(state: CompleteState): readonly MigrationCommand[] {
  if (!isBackWithSource(state)) {
    const ask = isSettled(state, "destination", "handBack")
      ? []
      : [command(state, "destination", { name: "handBack" })];
    return [...ask, ...commandsToFence(state)];
  }
  if (!isTakenBack(state)) {
    return isSettled(state, "source", "resumeSource")
      ? commandsToFence(state)
      : [command(state, "source", { name: "resumeSource" })];
  }
  return isDestinationCleared(state) ? [] : [command(state, "destination", { name: "abortDestination" })];
}
