import { Phase, type PhaseEntry } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { learnAgentWord } from "./agent-words.ts";
import { learnFailure, learnReply } from "./command-answers.ts";
import { type CompleteState, completeState, withFacts, withMigration } from "./complete-state.ts";
import { withDeclinedGuest } from "./declined-guest.ts";
import { enterPhase } from "./enter-phase.ts";
import { commandsOfHandingBack, leaveHandingBack, withRightAtSource } from "./hand-back.ts";
import { type CommandName, commandKey, type MigrationCommand } from "./migration-command.ts";
import type { MigrationEvent } from "./migration-event.ts";
import { reasonIn } from "./outcome.ts";
import { learnDeadline } from "./passed-deadline.ts";
import { isTerminal } from "./phase-edges.ts";
import {
  commandsOfPostCopy,
  commandsOfPostCopyPaused,
  leavePostCopy,
  withPauseAsked,
  withRecoveryAsked,
} from "./post-copy.ts";
import { commandsOfPreparing, leavePending, leavePreparing, withClockOffset } from "./prepare.ts";
import { withRetries } from "./retries.ts";
import { commandsOfRollback, leaveRollback } from "./rollback.ts";
import { withHostDead, withHostUnreachable, withResolution } from "./statements.ts";
import {
  commandsOfAmbiguous,
  commandsOfCompleting,
  commandsOfSwitchingOver,
  commandsOfTransferring,
  leaveAmbiguous,
  leaveCompleting,
  leaveSwitchingOver,
  leaveTransferring,
} from "./switch-over.ts";

/**
 * What a migration is: (state, event) -> (state, commands), and nothing else decides.
 *
 *   PENDING -> PREPARING -> TRANSFERRING -> SWITCHING_OVER ------------------------> COMPLETING -> COMPLETED
 *      |           |  |          |  |         |  |  |  ^ \                               ^   ^  \
 *      |           |  |          |  |         |  |  |  |  `-> POST_COPY -----------------'   |   `-> FAILED
 *      |           |  |          |  |         |  |  |  |       ^  |  `-> FAILED              |
 *      |           |  |          |  |         |  |  |  |       |  v                          |
 *      |           |  |          |  |         |  |  |  |     POST_COPY_PAUSED, _RECOVERING --'
 *      |           |  |          |  |         |  |  |  | too late
 *      `-----------+--|----------+--|---------+--|--|--+-> CANCELLING -> CANCELLED
 *                  |  |             |            |  |  |
 *                  |  `-------------+------------+--|--+-> ROLLING_BACK -> FAILED
 *                  v                             |  |           ^
 *                FAILED                          |  `-----> AMBIGUOUS -> POST_COPY, COMPLETING
 *                                                v              |
 *                                           HANDING_BACK <------'    HANDING_BACK -> FAILED, or forward again
 *
 * An event first teaches the state facts, which only grow within an epoch; then the state takes every step that
 * its facts allow (`phase-edges.ts` has them all). So the words of two hosts may arrive in any order, late or
 * twice. The commands follow from the state alone (`outstandingCommands`): what was committed is enough to go on
 * after a crash. Phases are decided in prepare.ts, switch-over.ts, post-copy.ts, rollback.ts and
 * hand-back.ts.
 */
export interface Transition {
  readonly state: CompleteState;
  /** What is to be done from now on, and was not before. */
  readonly commands: readonly MigrationCommand[];
  readonly phasesEntered: readonly PhaseEntry[];
}

/** Never throws for a state that a coordinator wrote; an event that says nothing new returns the state as it is. */
export function transition(from: MigrationState, event: MigrationEvent, atUnixUs: bigint): Transition {
  const before = completeState(from);
  const state = evolve(before, event, atUnixUs);
  if (state === before) return { state, commands: [], phasesEntered: [] };
  const known = new Set(outstandingCommands(before).map(commandKey));
  return {
    state,
    commands: outstandingCommands(state).filter((command) => !known.has(commandKey(command))),
    phasesEntered: state.migration.phases.slice(before.migration.phases.length),
  };
}

function evolve(state: CompleteState, event: MigrationEvent, atUnixUs: bigint): CompleteState {
  if (isTerminal(state.migration.phase)) return state;
  return settle(learn(state, event, atUnixUs), atUnixUs);
}

function learn(state: CompleteState, event: MigrationEvent, atUnixUs: bigint): CompleteState {
  switch (event.t) {
    case "Admitted":
      return state.migration.phase === Phase.PENDING ? enterPhase(state, Phase.PREPARING, atUnixUs) : state;
    case "CommandSucceeded":
      // Whether or not it is still of use by then: who was powered off is dead.
      if (event.reply.name === "fenceHost") return withHostDead(state, event.side, atUnixUs);
      if (event.reply.name === "compareClocks") return withClockOffset(state, event.reply.offset);
      return isAwaited(state, { name: event.reply.name, side: event.side, epoch: event.epoch })
        ? learnReply(state, event.side, event.reply)
        : state;
    case "CommandFailed":
      return isAwaited(state, event) ? learnFailure(state, event.side, event.name, event.error) : state;
    case "CommandRetried":
      return withRetries(state, event.side, event.name, event.attempts);
    case "PostCopyAsked":
      return withFacts(state, { postCopyWanted: true });
    case "CancelAsked":
      return state.handedOff || state.postCopyActive ? state : withFacts(state, { cancelAsked: true });
    case "PauseAsked":
      return withPauseAsked(state);
    case "RecoverAsked":
      return withRecoveryAsked(state);
    case "HostUnreachable":
      return withHostUnreachable(state, event.side);
    case "HostDeclaredDead":
      return withHostDead(state, event.side, atUnixUs);
    case "Resolved":
      return withResolution(state, event.resolution, atUnixUs);
    case "DeadlinePassed":
      return learnDeadline(state, event.deadline);
    default:
      return learnAgentWord(state, event);
  }
}

/** An answer counts while its question stands: a late one answers nothing that is still open. */
function isAwaited(
  state: CompleteState,
  answer: { readonly name: CommandName; readonly side: "source" | "destination"; readonly epoch: bigint },
): boolean {
  const key = commandKey(answer);
  return outstandingCommands(state).some((command) => commandKey(command) === key);
}

/** More steps than any event has reason for; the rules of the phases do not run in circles. */
const STEPS_AT_MOST = 16;

function settle(learned: CompleteState, atUnixUs: bigint): CompleteState {
  let state = withDeclinedGuest(withRightAtSource(learned), atUnixUs);
  for (let step = 0; step < STEPS_AT_MOST; step += 1) {
    const phase = nextPhase(state);
    if (phase === null) break;
    state = withRightAtSource(enterPhase(state, phase, atUnixUs));
  }
  const reason = reasonIn(state, state.migration.phase);
  return reason.code === state.migration.reasonCode && reason.sentence === state.migration.reason
    ? state
    : withMigration(state, { reasonCode: reason.code, reason: reason.sentence });
}

function nextPhase(state: CompleteState): Phase | null {
  switch (state.migration.phase) {
    case Phase.PENDING:
      return leavePending(state);
    case Phase.PREPARING:
      return leavePreparing(state);
    case Phase.TRANSFERRING:
      return leaveTransferring(state);
    case Phase.SWITCHING_OVER:
      return leaveSwitchingOver(state);
    case Phase.POST_COPY:
    case Phase.POST_COPY_PAUSED:
    case Phase.POST_COPY_RECOVERING:
      return leavePostCopy(state);
    case Phase.COMPLETING:
      return leaveCompleting(state);
    case Phase.CANCELLING:
    case Phase.ROLLING_BACK:
      return leaveRollback(state);
    case Phase.HANDING_BACK:
      return leaveHandingBack(state);
    case Phase.AMBIGUOUS:
      return leaveAmbiguous(state);
    case Phase.UNSPECIFIED:
    case Phase.COMPLETED:
    case Phase.CANCELLED:
    case Phase.FAILED:
      return null;
  }
}

/** States are values: what one asks for is worked out once, and asked after several times. */
const OUTSTANDING = new WeakMap<MigrationState, readonly MigrationCommand[]>();

/** All that this state still needs done; driving it again after a crash is harmless. */
export function outstandingCommands(of: MigrationState): readonly MigrationCommand[] {
  const known = OUTSTANDING.get(of);
  if (known !== undefined) return known;
  const commands = commandsOf(completeState(of));
  OUTSTANDING.set(of, commands);
  return commands;
}

function commandsOf(state: CompleteState): readonly MigrationCommand[] {
  switch (state.migration.phase) {
    case Phase.PREPARING:
      return commandsOfPreparing(state);
    case Phase.TRANSFERRING:
      return commandsOfTransferring(state);
    case Phase.SWITCHING_OVER:
      return commandsOfSwitchingOver(state);
    case Phase.AMBIGUOUS:
      return commandsOfAmbiguous(state);
    case Phase.POST_COPY:
    case Phase.POST_COPY_RECOVERING:
      return commandsOfPostCopy(state);
    case Phase.POST_COPY_PAUSED:
      return commandsOfPostCopyPaused(state);
    case Phase.COMPLETING:
      return commandsOfCompleting(state);
    case Phase.CANCELLING:
    case Phase.ROLLING_BACK:
      return commandsOfRollback(state);
    case Phase.HANDING_BACK:
      return commandsOfHandingBack(state);
    case Phase.UNSPECIFIED:
    case Phase.PENDING:
    case Phase.COMPLETED:
    case Phase.CANCELLED:
    case Phase.FAILED:
      return [];
  }
}
