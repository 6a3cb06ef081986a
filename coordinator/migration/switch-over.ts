import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { commandsToCarryTheWord } from "./carry-word.ts";
import type { CompleteState } from "./complete-state.ts";
import {
  cannotStartThere,
  failureOf,
  isDestinationReady,
  isDestinationSilent,
  isDone,
  isPostCopyMode,
  isRefused,
  isSettled,
  isSourceSilent,
  isTornApart,
  isUnknownThere,
  NOT_GIVEN,
} from "./facts.ts";
import { commandsToFence } from "./fence-host.ts";
import { areInstantsComplete } from "./instants.ts";
import { command, type MigrationCommand } from "./migration-command.ts";
import { commandsToMendTheStream } from "./post-copy.ts";
import { commandsToCompareClocks } from "./prepare.ts";

/**
 * TRANSFERRING, SWITCHING_OVER, AMBIGUOUS, COMPLETING: the memory moves, then the CPUs, then the source is let go.
 *
 * At the switchover the agents act by themselves. The coordinator carries the source's word where the destination
 * says that it did not come, and decides nothing but what both sides' words leave open.
 */
export function leaveTransferring(state: CompleteState): Phase | null {
  if (state.handedOff) return Phase.SWITCHING_OVER;
  if (state.cancelAsked) return Phase.CANCELLING;
  if (state.endingReasonCode !== "") return Phase.ROLLING_BACK;
  // CPUs that stop before the transfer is under way were stopped by their owner.
  const isStopped = state.transferActive && state.source.cpusStopped;
  const switches = state.postCopyActive || isStopped || state.handOffWanted || isDestinationReady(state);
  return switches ? Phase.SWITCHING_OVER : null;
}

export function leaveSwitchingOver(state: CompleteState): Phase | null {
  const decided = decideByRight(state);
  if (decided !== null) return decided;
  if (!state.handedOff) {
    // `migrate_cancel` is never sent after `migrate-start-postcopy`.
    if (state.cancelAsked && !state.postCopyActive) return Phase.CANCELLING;
    if (state.endingReasonCode !== "") return Phase.ROLLING_BACK;
  }
  return isSourceSilent(state) || isDestinationSilent(state) ? Phase.AMBIGUOUS : null;
}

export function leaveAmbiguous(state: CompleteState): Phase | null {
  const decided = decideByRight(state);
  if (decided !== null) return decided;
  if (state.handedOff) return null;
  if (state.kept || state.source.hostDead) return Phase.ROLLING_BACK;
  // The source answers again, and knows of no hand-off: it is asked to keep the guest, and says which it is, if it can.
  const isAnswered =
    failureOf(state, "source", "getHandOff")?.reason === NOT_GIVEN ||
    isUnknownThere(state, "source", "getHandOff");
  return isAnswered && !isSourceSilent(state) && !isRefused(state, "source", "cancelTransfer")
    ? Phase.ROLLING_BACK
    : null;
}

/** Where the guest goes once it is known which side may run it. */
function decideByRight(state: CompleteState): Phase | null {
  if (state.takenOver) return isPostCopyMode(state) ? Phase.POST_COPY : Phase.COMPLETING;
  if (isTornApart(state)) return Phase.FAILED;
  return state.handedOff && cannotStartThere(state) ? Phase.HANDING_BACK : null;
}

export function leaveCompleting(state: CompleteState): Phase | null {
  const released = state.source.hostDead || isSettled(state, "source", "releaseSource");
  if (!released || !(state.wordsClosed || areInstantsComplete(state))) return null;
  // After `cont` there is no way back: if that VMM dies, the guest crashed.
  return state.destination.vmmLost || state.destination.hostDead ? Phase.FAILED : Phase.COMPLETED;
}

export function commandsOfTransferring(state: CompleteState): readonly MigrationCommand[] {
  return [
    ...commandsToBegin(state),
    ...commandsToSwitch(state),
    ...commandsToCarryTheWord(state),
    ...commandsToCompareClocks(state),
  ];
}

/** CPUs may stop for their owner, before the transfer has begun: it is begun all the same. */
function commandsToBegin(state: CompleteState): readonly MigrationCommand[] {
  const hasBegun = state.transferActive || state.postCopyActive || state.handedOff;
  return hasBegun || isSettled(state, "source", "beginTransfer")
    ? []
    : [command(state, "source", { name: "beginTransfer", incomingUri: state.incomingUri })];
}

function commandsToSwitch(state: CompleteState): readonly MigrationCommand[] {
  const isDue = isPostCopyMode(state) && state.postCopyWanted && state.transferActive;
  if (!isDue || state.postCopyActive || state.handedOff) return [];
  return isSettled(state, "source", "switchToPostCopy")
    ? []
    : [command(state, "source", { name: "switchToPostCopy" })];
}

export function commandsOfSwitchingOver(state: CompleteState): readonly MigrationCommand[] {
  return [
    ...commandsToBegin(state),
    ...commandsToSwitch(state),
    ...commandsToCarryTheWord(state),
    ...commandsToMendTheStream(state),
  ];
}

export function commandsOfAmbiguous(state: CompleteState): readonly MigrationCommand[] {
  return [...commandsToCarryTheWord(state), ...commandsToMendTheStream(state), ...commandsToFence(state)];
}

export function commandsOfCompleting(state: CompleteState): readonly MigrationCommand[] {
  return state.source.hostDead || isSettled(state, "source", "releaseSource")
    ? []
    : [command(state, "source", { name: "releaseSource" })];
}

/** `releaseSource` was given up, so that devices may be left behind. */
export function isReleaseMissing(state: CompleteState): boolean {
  return !state.source.hostDead && !isDone(state, "source", "releaseSource");
}
