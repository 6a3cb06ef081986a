import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { CommandFailure } from "../../proto/gen/switchover/v1/record.ts";
import { type CompleteState, hostOf, SIDES } from "./complete-state.ts";
import {
  failureOf,
  isDestinationSilent,
  isGivenUpThere,
  isRefused,
  isSourceLost,
  isSourceSilent,
  isTornApart,
  NO_WAY_BACK,
  NOT_GIVEN,
} from "./facts.ts";
import { restBeforeRecoveryUs } from "./post-copy.ts";
import { NOTHING_WRONG, type Reason } from "./reason.ts";
import { isSourceRunning, isWordUnheard } from "./rollback.ts";
import { reasonOfDeadline } from "./spec-deadline.ts";
import { isReleaseMissing } from "./switch-over.ts";

/** Where the guest is when the migration ends in `phase` now. */
export function outcomeIn(state: CompleteState, phase: Phase): Outcome {
  switch (phase) {
    case Phase.COMPLETED:
      return state.destination.runState === "running"
        ? Outcome.RUNS_ON_DESTINATION
        : Outcome.PAUSED_ON_DESTINATION;
    case Phase.CANCELLED:
    case Phase.FAILED:
      return outcomeOfFailure(state);
    default:
      return Outcome.UNSPECIFIED;
  }
}

function outcomeOfFailure(state: CompleteState): Outcome {
  // Only a guest that crashed, or was torn apart, ends a migration in failure after the destination took it over.
  if (state.takenOver || isTornApart(state) || isSourceLost(state)) return Outcome.GUEST_LOST;
  // Memory that post-copy has torn apart, and neither VMM goes on with.
  if (isResumeRefused(state)) {
    const isLost = failureOf(state, "source", "resumeSource")?.reason === NO_WAY_BACK;
    return isLost ? Outcome.GUEST_LOST : Outcome.PAUSED_ON_SOURCE;
  }
  // Nobody having said how it was, it is as it was: nothing was changed.
  const { runState } = state.source;
  return runState === "running" || runState === "" ? Outcome.RUNS_ON_SOURCE : Outcome.PAUSED_ON_SOURCE;
}

function isResumeRefused(state: CompleteState): boolean {
  return !state.takenBack && isRefused(state, "source", "resumeSource");
}

const CANCELLED: Reason = { code: "CANCELLED", sentence: "The migration was cancelled." };

export function reasonIn(state: CompleteState, phase: Phase): Reason {
  switch (phase) {
    case Phase.COMPLETED:
      return isReleaseMissing(state) ? reasonOf(failureOf(state, "source", "releaseSource")) : NOTHING_WRONG;
    case Phase.FAILED:
      return withLeftovers(state, reasonOfFailure(state));
    case Phase.CANCELLED:
      return withLeftovers(state, reasonOfDeadline(state) ?? CANCELLED);
    case Phase.AMBIGUOUS:
      return reasonOfAmbiguity(state);
    case Phase.HANDING_BACK:
      return reasonOfHandingBack(state);
    case Phase.POST_COPY_PAUSED:
      return reasonOfPause(state);
    case Phase.CANCELLING:
    case Phase.ROLLING_BACK:
      return reasonOfRollback(state);
    case Phase.COMPLETING:
      return reasonOfWaiting(state) ?? endingOf(state);
    default:
      return reasonOfWaiting(state) ?? endingOrDeadlineOf(state);
  }
}

function endingOf({ endingReasonCode, endingReason }: CompleteState): Reason {
  return { code: endingReasonCode, sentence: endingReason };
}

function endingOrDeadlineOf(state: CompleteState): Reason {
  return state.endingReasonCode === "" ? (reasonOfDeadline(state) ?? NOTHING_WRONG) : endingOf(state);
}

function reasonOfFailure(state: CompleteState): Reason {
  if (state.endingReasonCode !== "") {
    const lost = outcomeOfFailure(state) === Outcome.GUEST_LOST ? "The guest is lost. " : "";
    return { code: state.endingReasonCode, sentence: lost + state.endingReason };
  }
  const side = state.destination.vmmLost || state.destination.hostDead ? "destination" : "source";
  return {
    code: "GUEST_LOST",
    sentence: `The guest was lost with ${hostOf(state, side)}, where a part of it that the ${
      side === "source" ? "destination" : "source"
    } does not have was.`,
  };
}

/** A step of the clean-up that was given up does not hide why the migration ended. */
function withLeftovers(state: CompleteState, reason: Reason): Reason {
  const leftovers = [
    failureOf(state, "source", "resumeSource"),
    state.destination.hostDead ? undefined : failureOf(state, "destination", "abortDestination"),
  ].filter((failure) => failure !== undefined);
  const sentences = leftovers.map((failure) => ` ${failure.command} failed: ${failure.sentence}`);
  return { code: reason.code, sentence: reason.sentence + sentences.join("") };
}

function reasonOfAmbiguity(state: CompleteState): Reason {
  if (isSourceSilent(state)) {
    return {
      code: "SOURCE_SILENT",
      sentence: `Host ${hostOf(state, "source")} does not say whether it handed the guest off.`,
    };
  }
  if (isDestinationSilent(state)) {
    return {
      code: "DESTINATION_SILENT",
      sentence: `Host ${hostOf(state, "destination")} does not say whether it started the guest.`,
    };
  }
  return (
    reasonOfWaiting(state) ?? { code: "AMBIGUOUS", sentence: "It is being asked which host has the guest." }
  );
}

/** The guest runs nowhere while it is on its way back: what that waits for is to be plain. */
function reasonOfHandingBack(state: CompleteState): Reason {
  const ending = endingOf(state);
  const waiting = reasonOfWaiting(state) ?? ending;
  // The destination is asked for its word at once, and mostly answers.
  if (waiting === ending && ending.code !== "RESOLVED") return ending;
  if (isGivenUpThere(state)) return waiting;
  const destination = hostOf(state, "destination");
  const word = isSourceLost(state)
    ? `The guest is lost unless ${destination} says that it has it.`
    : `The source runs the guest once ${destination} says that it never started it, or is dead.`;
  return { code: waiting.code, sentence: `${waiting.sentence} ${word}` };
}

/** Where the source cannot say whether it handed off, the guest waits for somebody who can: who that is is to be plain. */
function reasonOfRollback(state: CompleteState): Reason {
  const waiting = reasonOfWaiting(state) ?? endingOrDeadlineOf(state);
  const awaited = isWordUnheard(state) ? awaitedWithoutWord(state) : "";
  return { code: waiting.code, sentence: `${waiting.sentence} ${awaited}`.trim() };
}

function awaitedWithoutWord(state: CompleteState): string {
  const [source, destination] = [hostOf(state, "source"), hostOf(state, "destination")];
  if (!isGivenUpThere(state)) {
    return (
      `Nobody knows whether ${source} handed the guest off: ${destination} is to say whether it has it, or a person that ` +
      `${destination} is dead or the guest lost.`
    );
  }
  return isSourceRunning(state)
    ? ""
    : `The guest is ${source}'s once its VMM is adopted there, unless a person says that ${source} is dead or the guest lost.`;
}

function reasonOfPause(state: CompleteState): Reason {
  if (state.pauseHeld) {
    return {
      code: "PAUSED_BY_CALLER",
      sentence: "A caller paused the transfer, and is to have it recovered.",
    };
  }
  if (restBeforeRecoveryUs(state) === null) {
    const sentence = `The transfer broke ${state.pauses} times; it is recovered when a caller asks for that.`;
    return { code: "BREAKS_AGAIN", sentence };
  }
  return reasonOfWaiting(state) ?? { code: "PAUSED", sentence: "The transfer broke and is being recovered." };
}

/** What keeps the present phase from going on, if anything does. */
function reasonOfWaiting(state: CompleteState): Reason | null {
  const failures = [...state.source.failed, ...state.destination.failed];
  const newest = failures.filter((failure) => failure.reason !== NOT_GIVEN && !isTold(state, failure)).at(-1);
  if (newest !== undefined) return reasonOf(newest);
  for (const side of SIDES) {
    if (!state[side].hostUnreachable) continue;
    return {
      code: "HOST_UNREACHABLE",
      sentence: `The agent on ${hostOf(state, side)} cannot be reached.`,
    };
  }
  return null;
}

/** The failure that ends the migration is its ending already. */
function isTold(state: CompleteState, failure: CommandFailure): boolean {
  return failure.sentence === state.endingReason;
}

function reasonOf(failure: CommandFailure | undefined): Reason {
  return failure === undefined
    ? NOTHING_WRONG
    : { code: failure.reason, sentence: `${failure.command} failed: ${failure.sentence}` };
}
