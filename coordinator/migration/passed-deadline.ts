import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isHandOffAwaited, isSourceToRecall, isTakeOverAwaited, withTakeOverAsked } from "./carry-word.ts";
import { type CompleteState, withFacts } from "./complete-state.ts";
import { mayBeAskedAgain, withEnding, withoutFailures } from "./facts.ts";
import { withFenceWanted } from "./fence-host.ts";
import type { DeadlineName } from "./migration-event.ts";
import { withRecoveryDue } from "./post-copy.ts";
import { withSpecDeadlinePassed } from "./spec-deadline.ts";

/** What follows from a wait that has ended; nothing where it is not waited for any more. */
export function learnDeadline(state: CompleteState, deadline: DeadlineName): CompleteState {
  const { phase } = state.migration;
  switch (deadline) {
    case "postCopy":
      return phase === Phase.TRANSFERRING ? withFacts(state, { postCopyWanted: true }) : state;
    case "handOff":
      return phase === Phase.SWITCHING_OVER && isHandOffAwaited(state)
        ? withEnding(state, "HAND_OFF_OVERDUE", "The destination was ready, and the source did not hand off.")
        : state;
    case "takeOver":
      return (phase === Phase.SWITCHING_OVER || phase === Phase.AMBIGUOUS) && isTakeOverAwaited(state)
        ? withTakeOverAsked(state)
        : state;
    case "recall":
      return isSourceToRecall(state) && (phase === Phase.TRANSFERRING || phase === Phase.SWITCHING_OVER)
        ? withEnding(
            state,
            "WORDS_FORGOTTEN",
            "What the source said last of the transfer is lost, and it says no more.",
          )
        : state;
    case "askAgain":
      return withoutFailures(
        withoutFailures(state, "source", mayBeAskedAgain),
        "destination",
        mayBeAskedAgain,
      );
    case "fenceSource":
      return withFenceWanted(state, "source");
    case "fenceDestination":
      return withFenceWanted(state, "destination");
    case "spec":
      return withSpecDeadlinePassed(state);
    case "words":
      return phase === Phase.COMPLETING ? withFacts(state, { wordsClosed: true }) : state;
    case "recover":
      return withRecoveryDue(state);
  }
}
