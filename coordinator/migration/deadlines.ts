import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { CompleteState } from "./complete-state.ts";
import { isPostCopyMode, mayBeAskedAgain, NOT_GIVEN } from "./facts.ts";
import { areInstantsComplete } from "./instants.ts";
import type { DeadlineName } from "./migration-event.ts";
import { isTerminal } from "./phase-edges.ts";

/** A moment after which the migration is to hear `DeadlinePassed`. */
export interface Deadline {
  readonly name: DeadlineName;
  readonly atUnixUs: bigint;
}

/** Who answered "not yet" is asked again soon, who did not answer at a leisurely pace. */
const ASK_AGAIN_SOON_US = 250_000n;
const ASK_AGAIN_US = 2_000_000n;
/** Longer than an agent's restart, so that a restart never costs a host. */
const FENCE_AFTER_US = 10_000_000n;
/** The last words are on their way when the destination runs; a receipt waits no longer for them. */
const WORDS_WITHIN_US = 500_000n;

/** What the state waits for by the clock; derived from committed times, so that a restart shortens nothing. */
export function deadlinesOf(state: CompleteState, nowUnixUs: bigint): readonly Deadline[] {
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
  const again = [...state.source.failed, ...state.destination.failed].filter(mayBeAskedAgain);
  if (again.length > 0) {
    const soon = again.every((failure) => failure.reason === NOT_GIVEN);
    deadlines.push({ name: "askAgain", atUnixUs: nowUnixUs + (soon ? ASK_AGAIN_SOON_US : ASK_AGAIN_US) });
  }
  if (phase === Phase.AMBIGUOUS || phase === Phase.HANDING_BACK) {
    const sides = [state.source, state.destination];
    if (sides.some((side) => side.hostUnreachable && !side.hostDead && !side.fenceWanted)) {
      deadlines.push({ name: "fence", atUnixUs: enteredAtUnixUs + FENCE_AFTER_US });
    }
  }
  if (phase === Phase.COMPLETING && !state.wordsClosed && !areInstantsComplete(state)) {
    deadlines.push({ name: "words", atUnixUs: enteredAtUnixUs + WORDS_WITHIN_US });
  }
  return deadlines;
}
