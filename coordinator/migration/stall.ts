import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, withFacts } from "./complete-state.ts";
import { withEnding, withoutFailures } from "./facts.ts";

/** Before the hand-off a transfer that moves no bytes is given up; in post-copy it is paused, to be recovered. */
export function learnStall(state: CompleteState): CompleteState {
  if (state.takenOver) return learnStallInPostCopy(state);
  if (state.handedOff || state.postCopyActive) return learnStallBeforeStart(state);
  return withEnding(state, "TRANSFER_STALLED", "The transfer moved no bytes for too long.");
}

function learnStallInPostCopy(state: CompleteState): CompleteState {
  const { phase } = state.migration;
  const isInPostCopy = phase === Phase.POST_COPY || phase === Phase.POST_COPY_RECOVERING;
  // A destination may see that its stream broke while the source goes on waiting for it.
  const isPausedThereOnly =
    phase === Phase.POST_COPY_PAUSED && state.source.transferStatus !== "postcopy-paused";
  if (!isInPostCopy && !isPausedThereOnly) return state;
  return withPauseWanted(state);
}

/**
 * Once the destination has the device state, the rest of the stream can break and be recovered; before that a break
 * would end its VMM, and what is stalled may flow again.
 */
function learnStallBeforeStart(state: CompleteState): CompleteState {
  const { source, destination } = state;
  const mayBreak = state.handedOff && destination.transferStatus === "postcopy-active";
  return mayBreak && source.transferStatus !== "postcopy-paused" ? withPauseWanted(state) : state;
}

function withPauseWanted(state: CompleteState): CompleteState {
  const wanted = withFacts(state, { pauseWanted: true });
  return withoutFailures(wanted, "source", (failure) => failure.command === "pauseMigration");
}
