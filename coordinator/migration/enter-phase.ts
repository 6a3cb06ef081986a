import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { withTakeOverAsked } from "./carry-word.ts";
import { type CompleteState, withFacts, withMigration } from "./complete-state.ts";
import { NOT_GIVEN, withoutFailures } from "./facts.ts";
import { withRightAtDestination } from "./hand-back.ts";
import { outcomeIn, reasonIn } from "./outcome.ts";
import { assertPhaseEdge } from "./phase-edges.ts";
import { withoutRecovery } from "./post-copy.ts";

/**
 * The state in its next phase, with the entry that the feed is fed from; what the phase starts afresh is forgotten.
 * INTERNAL / PHASE_EDGE for a step that the table of edges does not have.
 */
export function enterPhase(state: CompleteState, phase: Phase, atUnixUs: bigint): CompleteState {
  const from = state.migration.phase;
  assertPhaseEdge(from, phase);
  const reason = reasonIn(state, phase);
  const entered = withMigration(state, {
    phase,
    outcome: outcomeIn(state, phase),
    phases: [...state.migration.phases, { phase, atUnixUs, reason: reason.sentence }],
  });
  return startAfresh(entered, from);
}

function startAfresh(state: CompleteState, from: Phase): CompleteState {
  switch (state.migration.phase) {
    case Phase.SWITCHING_OVER:
      return from === Phase.HANDING_BACK ? withRightAtDestination(state) : state;
    case Phase.AMBIGUOUS:
      // "Not yet" may be old by now; what was not answered is asked again in its own time.
      return withoutFailures(
        state.handedOff ? withTakeOverAsked(state) : state,
        "source",
        (failure) => failure.reason === NOT_GIVEN,
      );
    case Phase.ROLLING_BACK:
      return from === Phase.AMBIGUOUS
        ? withoutFailures(state, "source", (failure) => failure.command === "cancelTransfer")
        : state;
    case Phase.POST_COPY:
    case Phase.COMPLETING:
      // The guest has arrived: what would have ended the migration before did not.
      return from === Phase.POST_COPY_RECOVERING || from === Phase.POST_COPY_PAUSED
        ? state
        : withoutSteps(withFacts(state, { endingReasonCode: "", endingReason: "" }));
    case Phase.POST_COPY_PAUSED:
      // Every pause gets a recovery of its own.
      return withoutRecovery(
        withFacts(state, {
          pauseWanted: false,
          pauses: state.pauses + 1,
          // A single blip is recovered at once.
          recoveryDue: state.pauses === 0,
        }),
      );
    default:
      return state;
  }
}

/** Failures of steps that lie behind a guest that has arrived. */
function withoutSteps(state: CompleteState): CompleteState {
  const source = withoutFailures(state, "source", (failure) => failure.command !== "releaseSource");
  return withoutFailures(source, "destination", () => true);
}
