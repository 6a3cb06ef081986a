import { InstantKind, MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { CommandFailure } from "../../proto/gen/switchover/v1/record.ts";
import {
  type CompleteState,
  SIDES,
  type Side,
  withFacts,
  withMigration,
  withSide,
} from "./complete-state.ts";
import type { CommandName } from "./migration-command.ts";
import type { CommandError } from "./migration-event.ts";

/**
 * What follows from what a migration has heard. Phases and commands are decided from these and the state alone,
 * never from the order in which the words arrived.
 */

export function isPostCopyMode(state: CompleteState): boolean {
  return state.migration.spec.mode === MigrationMode.POST_COPY;
}

export function isDone(state: CompleteState, side: Side, name: CommandName): boolean {
  return state[side].done.includes(name);
}

export function failureOf(state: CompleteState, side: Side, name: CommandName): CommandFailure | undefined {
  return state[side].failed.find((failure) => failure.command === name);
}

/** Carried out or given up. */
export function isSettled(state: CompleteState, side: Side, name: CommandName): boolean {
  return isDone(state, side, name) || failureOf(state, side, name) !== undefined;
}

export function withDone(state: CompleteState, side: Side, name: CommandName): CompleteState {
  const { done, failed } = state[side];
  return withSide(state, side, {
    done: done.includes(name) ? done : [...done, name],
    failed: failed.filter((failure) => failure.command !== name),
  });
}

export function withFailure(
  state: CompleteState,
  side: Side,
  name: CommandName,
  error: CommandError,
): CompleteState {
  const others = state[side].failed.filter((failure) => failure.command !== name);
  return withSide(state, side, { failed: [...others, { command: name, ...error }] });
}

/** Forgets that the commands failed, so that they are driven again. */
export function withoutFailures(
  state: CompleteState,
  side: Side,
  forget: (failure: CommandFailure) => boolean,
): CompleteState {
  const failed = state[side].failed.filter((failure) => !forget(failure));
  return failed.length === state[side].failed.length ? state : withSide(state, side, { failed });
}

/** The source answered that it has not given its word yet. */
export const NOT_GIVEN = "NOT_GIVEN";

/** Nobody answered, or the answer was "not now": what was done is unknown, and asking again is harmless. */
export function isUnanswered(failure: Pick<CommandFailure, "code">): boolean {
  return (
    failure.code === "UNAVAILABLE" ||
    failure.code === "DEADLINE_EXCEEDED" ||
    failure.code === "CANCELLED" ||
    failure.code === "ABORTED" ||
    failure.code === "RESOURCE_EXHAUSTED"
  );
}

/** Reasons of an agent that is there and asks to be asked again; nobody is silent. */
const NOT_NOW: readonly string[] = [
  "STILL_WAITING",
  "RESTORING",
  "STALE_FENCE",
  "JOURNAL_UNWRITABLE",
  "RUN_STATE_UNSETTLED",
];

/** Nobody answered at all. */
export function isSilence(failure: Pick<CommandFailure, "code" | "reason">): boolean {
  return isUnanswered(failure) && !NOT_NOW.includes(failure.reason);
}

/** The questions that a migration cannot end without; every other command is given up once. */
const ASKED_UNTIL_ANSWERED: readonly string[] = [
  "switchToPostCopy",
  "getHandOff",
  "deliverHandOff",
  "cancelTransfer",
  "handBack",
  "resumeSource",
  "pauseMigration",
  "recoverMigration",
  "fenceHost",
] satisfies readonly CommandName[];

/**
 * What is refused now may be done later: a VMM refuses the switch before its transfer has got under way, and a recovery
 * before it has seen that the stream broke or while the network is still cut; an agent that does not know its guest may
 * know it again; a fencing command has its own troubles.
 */
const TRIED_UNTIL_DONE: readonly string[] = [
  "switchToPostCopy",
  "pauseMigration",
  "recoverMigration",
  "cancelTransfer",
  "handBack",
  "fenceHost",
] satisfies readonly CommandName[];

/** Worth another attempt after a while, for as long as the migration wants it. */
export function mayBeAskedAgain(failure: CommandFailure): boolean {
  if (!ASKED_UNTIL_ANSWERED.includes(failure.command)) return false;
  if (isUnanswered(failure) || failure.reason === NOT_GIVEN) return true;
  // The guest's memory may be there all the same, and its agent may be told of it again, in two calls.
  if (failure.command === "resumeSource" && isNotAdopted(failure)) return true;
  return TRIED_UNTIL_DONE.includes(failure.command) && failure.code !== "UNIMPLEMENTED";
}

/** The agent has no such instance, or its devices only. */
function isNotAdopted({ code, reason }: CommandFailure): boolean {
  return code === "NOT_FOUND" || reason === "NOT_ADOPTED";
}

/** `prepareDestination` was driven, so the destination may hold something. */
export function mayBePrepared(state: CompleteState): boolean {
  return isDone(state, "source", "preflight") && isDone(state, "destination", "preflight");
}

/** `armSource` was driven. */
export function mayBeArmed(state: CompleteState): boolean {
  return isDone(state, "destination", "prepareDestination");
}

/** `beginTransfer` was driven and not plainly refused. */
export function mayHaveBegun(state: CompleteState): boolean {
  if (!isDone(state, "source", "armSource")) return false;
  const failure = failureOf(state, "source", "beginTransfer");
  return failure === undefined || isUnanswered(failure);
}

/** The destination has loaded the guest and could start it. */
export function isDestinationReady(state: CompleteState): boolean {
  return state.migration.instants.some((instant) => instant.kind === InstantKind.READY);
}

/** Given the right to run, the destination will not use it. */
export function cannotStartThere(state: CompleteState): boolean {
  const { destination } = state;
  return (
    state.handedBack ||
    destination.hostDead ||
    destination.vmmLost ||
    destination.transferStatus === "failed" ||
    isRefused(state, "destination", "deliverHandOff")
  );
}

/** The agent answered, and the answer was no. */
export function isRefused(state: CompleteState, side: Side, name: CommandName): boolean {
  const failure = failureOf(state, side, name);
  return failure !== undefined && !mayBeAskedAgain(failure);
}

/** The agent has no such instance: what it once said of it is lost, and it will say nothing more. */
export function isUnknownThere(state: CompleteState, side: Side, name: CommandName): boolean {
  return failureOf(state, side, name)?.code === "NOT_FOUND";
}

/** The destination waits for the source's word, and there is nobody to get it from. */
export function isSourceSilent(state: CompleteState): boolean {
  if (!state.handOffWanted || state.handOff !== undefined || state.kept || state.source.hostDead)
    return false;
  return (
    state.source.hostUnreachable ||
    ["getHandOff", "cancelTransfer"].some((name) =>
      state.source.failed.some((failure) => failure.command === name && isSilence(failure)),
    )
  );
}

/** The destination was given the right to run, and nobody says whether it used it. */
export function isDestinationSilent(state: CompleteState): boolean {
  const failure = failureOf(state, "destination", "deliverHandOff");
  return (
    state.handedOff &&
    !state.takenOver &&
    (state.destination.hostUnreachable || (failure !== undefined && isSilence(failure)))
  );
}

/**
 * The guest's memory is on two hosts, and the source is gone for good with its part. (A destination that never ran the
 * guest takes nothing with it that the source may not still have: that is the source's VMM to say.) One that cannot be
 * heard may have all of it.
 */
export function isTornApart(state: CompleteState): boolean {
  if (!state.postCopyActive || !state.handedOff || state.handedBack || state.pagesComplete) return false;
  // A control plane ends a finished source's VMM, perhaps before the destination's last word is here.
  if (state.source.transferStatus === "completed" || !isSourceLost(state)) return false;
  return !state.destination.hostUnreachable && isCutOffFromSource(state);
}

/** By the destination's own word; of a dead host, by its answer since then, for no stream breaks where nobody ends it. */
function isCutOffFromSource({ source, destination }: CompleteState): boolean {
  if (SAYS_CUT_OFF.includes(destination.transferStatus)) return true;
  if (destination.vmmLost || destination.hostDead) return true;
  return source.hostDead && !destination.wordsForgotten;
}

const SAYS_CUT_OFF: readonly string[] = ["postcopy-paused", "failed"];

/** The source's own state is gone, so that the guest is lost where the destination does not have it. */
export function isSourceLost(state: CompleteState): boolean {
  return state.source.hostDead || state.source.vmmLost;
}

/** The destination's word is here that it never runs the guest, or it will never say another. */
export function isGivenUpThere(state: CompleteState): boolean {
  return state.handedBack || state.destination.hostDead;
}

/** Whoever had the right to run, nothing is left that could. */
export function isLostOnBothSides(state: CompleteState): boolean {
  return isSourceLost(state) && (isGivenUpThere(state) || state.destination.vmmLost);
}

/** The reason with which a source says that its VMM cannot run the guest again. */
export const NO_WAY_BACK = "NO_WAY_BACK";

/** The first reason to end the migration stays the one that is told. */
export function withEnding(state: CompleteState, reasonCode: string, reason: string): CompleteState {
  if (state.endingReasonCode !== "") return state;
  return withFacts(state, { endingReasonCode: reasonCode, endingReason: reason });
}

/** What may be said again, differently, under another epoch. */
const ANSWERS_OF_ONE_EPOCH: readonly string[] = [
  "getHandOff",
  "deliverHandOff",
  "cancelTransfer",
  "abortDestination",
  "resumeSource",
] satisfies readonly CommandName[];

/** Moves the migration to the epoch above its own and above `seen`. */
export function withRaisedEpoch(state: CompleteState, seen: bigint): CompleteState {
  const own = state.migration.fence.epoch;
  const fence = { ...state.migration.fence, epoch: (seen > own ? seen : own) + 1n };
  return withoutCommands(withMigration(state, { fence }), ANSWERS_OF_ONE_EPOCH);
}

/** Forgets on both sides how the commands went, so that they are driven again where they are wanted. */
export function withoutCommands(state: CompleteState, names: readonly string[]): CompleteState {
  return SIDES.reduce(
    (left, side) =>
      withSide(left, side, {
        done: left[side].done.filter((name) => !names.includes(name)),
        failed: left[side].failed.filter((failure) => !names.includes(failure.command)),
      }),
    state,
  );
}
