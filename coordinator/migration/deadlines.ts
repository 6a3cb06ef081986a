import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isHandOffAwaited, isSourceToRecall, isTakeOverAwaited } from "./carry-word.ts";
import type { CompleteState } from "./complete-state.ts";
import { isPostCopyMode, mayBeAskedAgain, NOT_GIVEN } from "./facts.ts";
import { sidesWorthFencing } from "./fence-host.ts";
import { areInstantsComplete } from "./instants.ts";
import type { DeadlineName } from "./migration-event.ts";
import { isTerminal } from "./phase-edges.ts";
import { recoveryDueAtUnixUs } from "./post-copy.ts";
import { specDeadlineAtUnixUs } from "./spec-deadline.ts";

/** A moment after which the migration is to hear `DeadlinePassed`. */
export interface Deadline {
  readonly name: DeadlineName;
  readonly atUnixUs: bigint;
}

/** Who answered "not yet" is asked again soon, who did not answer at a leisurely pace. */
const ASK_AGAIN_SOON_US = 250_000n;
const ASK_AGAIN_US = 2_000_000n;
/**
 * The last words are on their way when the destination runs, but that of the last announcement, which is due 750 ms after
 * RESUME; a receipt waits no longer for them.
 */
const WORDS_WITHIN_US = 1_250_000n;

/** Bounds that an operator sets. */
export interface DeadlineLimits {
  /** How long a host is unreachable before it is fenced, where that alone brings the guest back. */
  readonly fenceAfterMs: number;
}

/** A destination that is ready has everything; its source is about to hand off, or never will. */
export const HAND_OFF_WITHIN_US = 10_000_000n;

/** A destination that has the word starts the guest, or gives it back within that time. */
export const TAKE_OVER_WITHIN_US = 12_000_000n;

/** A transfer tells of itself every 5 s at least; one of which nothing is heard for so long is over, and how was forgotten. */
const TRANSFER_TOLD_WITHIN_US = 12_000_000n;

/**
 * What the state waits for by the clock. Its own waits are derived from committed times, so that a restart lengthens
 * nothing; waits for others begin with whoever waits.
 */
export function deadlinesOf(
  state: CompleteState,
  nowUnixUs: bigint,
  { fenceAfterMs }: DeadlineLimits,
): readonly Deadline[] {
  const { phase, phases, spec } = state.migration;
  if (isTerminal(phase)) return [];
  const enteredAtUnixUs = phases.at(-1)?.atUnixUs ?? nowUnixUs;
  const deadlines: Deadline[] = [];
  const trigger = spec.postCopy?.trigger;
  if (phase === Phase.TRANSFERRING && isPostCopyMode(state) && !state.postCopyWanted) {
    if (trigger?.$case === "afterMs") {
      deadlines.push({ name: "postCopy", atUnixUs: enteredAtUnixUs + BigInt(trigger.value) * 1_000n });
    }
  }
  if (phase === Phase.SWITCHING_OVER && isHandOffAwaited(state)) {
    deadlines.push({ name: "handOff", atUnixUs: nowUnixUs + HAND_OFF_WITHIN_US });
  }
  const mayBeTaken = phase === Phase.SWITCHING_OVER || phase === Phase.AMBIGUOUS;
  if (mayBeTaken && isTakeOverAwaited(state)) {
    deadlines.push({ name: "takeOver", atUnixUs: nowUnixUs + TAKE_OVER_WITHIN_US });
  }
  const isUnderWay = phase === Phase.TRANSFERRING || phase === Phase.SWITCHING_OVER;
  if (isUnderWay && isSourceToRecall(state) && !state.source.hostUnreachable) {
    deadlines.push({ name: "recall", atUnixUs: nowUnixUs + TRANSFER_TOLD_WITHIN_US });
  }
  const again = [...state.source.failed, ...state.destination.failed].filter(
    // Who was asked for what it may have said says what it says from then on.
    (failure) => mayBeAskedAgain(failure) && (failure.reason !== NOT_GIVEN || state.handOffWanted),
  );
  if (again.length > 0) {
    const soon = again.every((failure) => failure.reason === NOT_GIVEN);
    deadlines.push({ name: "askAgain", atUnixUs: nowUnixUs + (soon ? ASK_AGAIN_SOON_US : ASK_AGAIN_US) });
  }
  for (const side of sidesWorthFencing(state)) {
    if (state[side].fenceWanted) continue;
    // From now on, also after another coordinator's wait: who has a host fenced has tried for that long to hear it.
    const name = side === "source" ? "fenceSource" : "fenceDestination";
    deadlines.push({ name, atUnixUs: nowUnixUs + BigInt(fenceAfterMs) * 1_000n });
  }
  const specDeadline = specDeadlineAtUnixUs(state);
  if (specDeadline !== null) deadlines.push({ name: "spec", atUnixUs: specDeadline });
  const recoveryDue = recoveryDueAtUnixUs(state, enteredAtUnixUs, nowUnixUs);
  if (recoveryDue !== null) deadlines.push({ name: "recover", atUnixUs: recoveryDue });
  if (phase === Phase.COMPLETING && !state.wordsClosed && !areInstantsComplete(state)) {
    deadlines.push({ name: "words", atUnixUs: enteredAtUnixUs + WORDS_WITHIN_US });
  }
  return deadlines;
}
