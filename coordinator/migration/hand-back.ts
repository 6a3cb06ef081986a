import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, withFacts, withSide } from "./complete-state.ts";
import {
  failureOf,
  isDone,
  isGivenUpThere,
  isLostOnBothSides,
  isPostCopyMode,
  isSettled,
  isTornApart,
  NO_WAY_BACK,
  withDone,
  withRaisedEpoch,
} from "./facts.ts";
import { commandsToFence } from "./fence-host.ts";
import { command, type MigrationCommand } from "./migration-command.ts";
import {
  commandsOnceKept,
  commandsToKeep,
  commandToResume,
  isDestinationCleared,
  isSourceRunning,
  isSourceSafe,
  isTakenBack,
} from "./rollback.ts";

/**
 * HANDING_BACK: the guest returns to the source, which handed it off.
 *
 * It gets the right to run by the destination's word alone, or by the statement that its host is dead, and under a
 * higher epoch. The destination's VMM is ended last: in post-copy the source cannot go on once it is gone. A source
 * that an operator has run the guest again without having said that it handed off is asked that too.
 *
 * A source that is gone takes nothing with it before the destination's word is here: it may be running the guest.
 */
export function leaveHandingBack(state: CompleteState): Phase | null {
  if (state.takenOver) return isPostCopyMode(state) ? Phase.POST_COPY : Phase.COMPLETING;
  if (isTornApart(state)) return Phase.FAILED;
  if (isLostOnBothSides(state)) return isLeftClean(state) ? Phase.FAILED : null;
  if (!isGivenUpThere(state)) return null;
  if (!state.handedOff) {
    const ended = isSourceSafe(state) && isDestinationCleared(state) && isSourceRunning(state);
    return ended ? Phase.FAILED : null;
  }
  if (!isBackWithSource(state)) return null;
  if (isNoWayBack(state)) return Phase.SWITCHING_OVER;
  return isTakenBack(state) && isDestinationCleared(state) ? Phase.FAILED : null;
}

/** A destination that gave its guest up, which nobody has any more, is to let its devices go. */
function isLeftClean(state: CompleteState): boolean {
  return !state.handedBack || isDestinationCleared(state);
}

/** And the source has an epoch of its own. */
function isBackWithSource(state: CompleteState): boolean {
  return isDone(state, "destination", "handBack");
}

/**
 * The source cannot use the right that it was given back, so the destination's VMM, kept alive for that in post-copy, is
 * to start the guest after all. Once: a guest that neither side can start is lost.
 */
function isNoWayBack(state: CompleteState): boolean {
  const attempts = state.migration.phases.filter((entry) => entry.phase === Phase.HANDING_BACK).length;
  return (
    failureOf(state, "source", "resumeSource")?.reason === NO_WAY_BACK &&
    isPostCopyMode(state) &&
    attempts === 1 &&
    !state.destination.hostDead &&
    !state.destination.vmmLost
  );
}

/** Moves the right to run to the source once the destination's word, or its death, allows it; under a new epoch. */
export function withRightAtSource(state: CompleteState): CompleteState {
  if (state.migration.phase !== Phase.HANDING_BACK || state.takenOver || isBackWithSource(state))
    return state;
  if (!state.handedOff || !isGivenUpThere(state)) return state;
  return withRaisedEpoch(withDone(state, "destination", "handBack"), state.migration.fence.epoch);
}

/** Moves the right to run to the destination again; under a new epoch, with the word re-issued for it. */
export function withRightAtDestination(state: CompleteState): CompleteState {
  const raised = withRaisedEpoch(state, state.migration.fence.epoch);
  const { done, transferStatus } = raised.destination;
  return withFacts(
    withSide(raised, "destination", {
      done: done.filter((name) => name !== "handBack"),
      transferStatus: transferStatus === "failed" ? "" : transferStatus,
    }),
    {
      handedBack: false,
      handOffWanted: true,
      handOff:
        raised.handOff === undefined ? undefined : { ...raised.handOff, fence: raised.migration.fence },
    },
  );
}

export function commandsOfHandingBack(state: CompleteState): readonly MigrationCommand[] {
  if (!isGivenUpThere(state)) {
    const ask = isSettled(state, "destination", "handBack")
      ? []
      : [command(state, "destination", { name: "handBack" })];
    return [...ask, ...commandsToFence(state)];
  }
  if (!state.handedOff) return isSourceSafe(state) ? commandsOnceKept(state) : commandsToKeep(state);
  if (!isTakenBack(state) && !isLostOnBothSides(state)) {
    return isSettled(state, "source", "resumeSource") ? [] : [commandToResume(state)];
  }
  return isDestinationCleared(state) ? [] : [command(state, "destination", { name: "abortDestination" })];
}
