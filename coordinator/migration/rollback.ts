import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { CompleteState } from "./complete-state.ts";
import {
  isDone,
  isGivenUpThere,
  isLostOnBothSides,
  isPostCopyMode,
  isRefused,
  isSettled,
  isSourceLost,
  isSourceSilent,
  isUnknownThere,
  mayBeArmed,
  mayBePrepared,
  mayHaveBegun,
} from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * CANCELLING, ROLLING_BACK: the guest stays where it was.
 *
 * The source alone knows whether it still has the right to run, so it is asked first; only its word `kept` lets the
 * destination be aborted, and the source then resumes the guest, under the same epoch, where the switchover had stopped
 * it. Where it cannot say that any more, the destination's word counts, for it may have the guest; the source is to have
 * it back in any case then, and in post-copy before the destination is aborted, whose VMM it needs for that.
 */
export function leaveRollback(state: CompleteState): Phase | null {
  if (state.handedOff) return Phase.SWITCHING_OVER;
  if (isSourceSilent(state)) return Phase.AMBIGUOUS;
  if (!isSourceSafe(state) || !isDestinationCleared(state) || !isSourceRunning(state)) return null;
  return state.migration.phase === Phase.CANCELLING ? Phase.CANCELLED : Phase.FAILED;
}

/** Nothing can make the source hand off any more. */
export function isSourceSafe(state: CompleteState): boolean {
  if (state.kept || !mayBeArmed(state)) return true;
  if (isWordUnheard(state)) return isGivenUpThere(state) || isLostOnBothSides(state);
  if (state.source.hostDead) return true;
  // What never began cannot end in a hand-off, whether or not the source could be told.
  return !mayHaveBegun(state) && isSettled(state, "source", "cancelTransfer");
}

/**
 * An agent that lost what it had journaled gives no word any more, and knows of none. What it gave before, the destination
 * tells, and it alone: whether it took the guest, or never will.
 */
export function isWordForgotten(state: CompleteState): boolean {
  return mayHaveBegun(state) && isUnknownThere(state, "source", "cancelTransfer");
}

/** In post-copy the guest of such a source goes on nowhere once the destination's VMM ends. */
export function isForgottenInPostCopy(state: CompleteState): boolean {
  return isPostCopyMode(state) && isWordForgotten(state);
}

/** Nobody at the source will say whether it gave its word; the destination may have it, and be running the guest. */
export function isWordUnheard(state: CompleteState): boolean {
  return isWordForgotten(state) || (mayHaveBegun(state) && state.source.hostDead);
}

/**
 * A destination that cannot be reached may be left uncleared: without the hand-off it never starts the guest, and
 * the next migration's epoch fences it.
 */
export function isDestinationCleared(state: CompleteState): boolean {
  return (
    !mayBePrepared(state) || state.destination.hostDead || isSettled(state, "destination", "abortDestination")
  );
}

/**
 * The switchover had stopped a guest that its owner had running, or may have. A source that forgot its word does not say
 * whether its guest stands, and holds no right to run it before it is told to take it back, running or not.
 */
function isResumeNeeded(state: CompleteState): boolean {
  const { source } = state;
  if (!mayHaveBegun(state) || isSourceLost(state)) return false;
  if (isWordForgotten(state) && !state.kept) return true;
  return (source.cpusStopped || (source.wordsForgotten && !state.kept)) && source.runState === "running";
}

export function isSourceRunning(state: CompleteState): boolean {
  return !isResumeNeeded(state) || isTakenBack(state);
}

/** The source took the guest back, or said that it never will. */
export function isTakenBack(state: CompleteState): boolean {
  return (
    state.takenBack || isDone(state, "source", "resumeSource") || isRefused(state, "source", "resumeSource")
  );
}

export function commandsOfRollback(state: CompleteState): readonly MigrationCommand[] {
  return isSourceSafe(state) ? commandsOnceKept(state) : commandsToKeep(state);
}

export function commandsToKeep(state: CompleteState): readonly MigrationCommand[] {
  if (isWordUnheard(state)) {
    return isSettled(state, "destination", "handBack")
      ? []
      : [command(state, "destination", { name: "handBack" })];
  }
  return isSettled(state, "source", "cancelTransfer")
    ? []
    : [command(state, "source", { name: "cancelTransfer" })];
}

export function commandToResume(state: CompleteState): MigrationCommand {
  return command(state, "source", { name: "resumeSource", runState: state.source.runState });
}

/**
 * The destination first, but a guest does not wait for one that cannot be reached: it was never given the right. A source
 * that forgot its word in post-copy first: both VMMs are needed for its way back.
 */
export function commandsOnceKept(state: CompleteState): readonly MigrationCommand[] {
  const isCleared = isDestinationCleared(state);
  const abort = isCleared ? [] : [command(state, "destination", { name: "abortDestination" })];
  const isResumed = isSourceRunning(state) || isSettled(state, "source", "resumeSource");
  const resume = isResumed ? [] : [commandToResume(state)];
  if (isForgottenInPostCopy(state) && !isSourceRunning(state)) return resume;
  return !isCleared && !state.destination.hostUnreachable ? abort : [...abort, ...resume];
}
