import { DeadlineAction, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, withFacts } from "./complete-state.ts";
import { isDone } from "./facts.ts";
import type { Reason } from "./reason.ts";

/**
 * The caller's deadline: by when the CPUs are to move. It counts from the request, so that neither waiting in line nor a
 * coordinator's crash lengthens it, and means nothing once the CPUs have stopped or are about to move.
 */
export function specDeadlineAtUnixUs(state: CompleteState): bigint | null {
  const { requestedAtUnixUs, spec } = state.migration;
  if (spec.deadline === undefined || !isHeldToDeadline(state)) return null;
  return requestedAtUnixUs + BigInt(spec.deadline.afterMs) * 1_000n;
}

const BEFORE_THE_SWITCH: readonly Phase[] = [Phase.PENDING, Phase.PREPARING, Phase.TRANSFERRING];

function isHeldToDeadline(state: CompleteState): boolean {
  return (
    !state.deadlinePassed &&
    !state.cancelAsked &&
    state.endingReasonCode === "" &&
    BEFORE_THE_SWITCH.includes(state.migration.phase) &&
    !isDone(state, "source", "switchToPostCopy")
  );
}

export function withSpecDeadlinePassed(state: CompleteState): CompleteState {
  if (!isHeldToDeadline(state)) return state;
  switch (state.migration.spec.deadline?.action) {
    case DeadlineAction.CANCEL:
      return withFacts(state, { deadlinePassed: true, cancelAsked: true });
    case DeadlineAction.SWITCH_TO_POST_COPY:
      return withFacts(state, { deadlinePassed: true, postCopyWanted: true });
    default:
      return state;
  }
}

/** Null where the deadline had no part in what is going on. */
export function reasonOfDeadline(state: CompleteState): Reason | null {
  const { deadline } = state.migration.spec;
  if (!state.deadlinePassed || deadline === undefined) return null;
  const { action, afterMs } = deadline;
  const cancels = action === DeadlineAction.CANCEL;
  // A caller's cancel, later than that, has its own reason.
  if (!cancels && state.cancelAsked) return null;
  const what = cancels ? "the migration is cancelled" : "the CPUs move, and pages follow";
  return {
    code: "DEADLINE_PASSED",
    sentence: `The CPUs had not moved ${afterMs} ms after the request: ${what}.`,
  };
}
