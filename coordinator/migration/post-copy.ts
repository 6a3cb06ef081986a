import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { commandsToAskAfterGuest } from "./carry-word.ts";
import { type CompleteState, withFacts } from "./complete-state.ts";
import { isDone, isRefused, isSettled, isTornApart, withoutCommands } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * POST_COPY, POST_COPY_PAUSED, POST_COPY_RECOVERING: the CPUs run at the destination and the remaining pages follow.
 *
 * The destination owns the guest and its address throughout: a pause and a recovery are no new switchover. With
 * the guest on two hosts, losing either loses it. A stream that broke, or that stalled and was broken for that, is
 * recovered by itself; one that a caller broke stays so until a caller has it recovered.
 */
export function leavePostCopy(state: CompleteState): Phase | null {
  if (state.destination.vmmLost || state.destination.hostDead || isTornApart(state)) return Phase.FAILED;
  if (state.pagesComplete || isCompleteBySource(state)) return Phase.COMPLETING;
  if (state.destination.transferStatus === "failed") return Phase.FAILED;
  const stands = postCopyPhase(state);
  return stands === state.migration.phase ? null : stands;
}

/** A source completes once the destination has acknowledged all: enough of a word where the destination gives none. */
function isCompleteBySource(state: CompleteState): boolean {
  return state.source.transferStatus === "completed" && isRefused(state, "destination", "deliverHandOff");
}

/** By the VMMs' own words; a transfer is as far as the slower side says. */
function postCopyPhase(state: CompleteState): Phase {
  const statuses = [state.source.transferStatus, state.destination.transferStatus];
  if (statuses.includes("postcopy-paused")) return Phase.POST_COPY_PAUSED;
  if (statuses.some((status) => status.startsWith("postcopy-recover"))) return Phase.POST_COPY_RECOVERING;
  return Phase.POST_COPY;
}

/** POST_COPY and POST_COPY_RECOVERING. */
export function commandsOfPostCopy(state: CompleteState): readonly MigrationCommand[] {
  return [...commandsToPause(state), ...commandsToAskAfterGuest(state)];
}

function commandsToPause(state: CompleteState): readonly MigrationCommand[] {
  if (!state.pauseWanted && !state.pauseHeld) return [];
  return isSettled(state, "source", "pauseMigration")
    ? []
    : [command(state, "source", { name: "pauseMigration" })];
}

/** A transfer that keeps breaking is left to a person after so many recoveries. */
const PAUSES_AT_MOST = 64;
/** How long a transfer that broke again is left alone: doubled with each pause. */
const FIRST_REST_US = 1_000_000n;
const LONGEST_REST_US = 30_000_000n;

/** Microseconds that the present pause lasts before it is recovered; null where only a caller recovers it. */
export function restBeforeRecoveryUs({ pauseHeld, pauses }: CompleteState): bigint | null {
  if (pauseHeld || pauses > PAUSES_AT_MOST) return null;
  const restUs = FIRST_REST_US << BigInt(Math.max(0, pauses - 2));
  return restUs < LONGEST_REST_US ? restUs : LONGEST_REST_US;
}

/**
 * The word is given, and the stream broke before the destination could load the guest to its end: it is recovered at
 * once, for the guest runs nowhere.
 */
export function isCutOffBeforeStart(state: CompleteState): boolean {
  const { phase } = state.migration;
  if (phase !== Phase.SWITCHING_OVER && phase !== Phase.AMBIGUOUS) return false;
  if (!state.postCopyActive || !state.handedOff || state.takenOver || state.handedBack) return false;
  return [state.source.transferStatus, state.destination.transferStatus].includes("postcopy-paused");
}

export function commandsToMendTheStream(state: CompleteState): readonly MigrationCommand[] {
  if (state.takenOver || !state.handedOff) return [];
  const pause = state.pauseWanted ? commandsToPause(state) : [];
  return isCutOffBeforeStart(state) ? [...pause, ...commandsToRecover(state)] : pause;
}

export function commandsOfPostCopyPaused(state: CompleteState): readonly MigrationCommand[] {
  const pause = state.pauseWanted ? commandsToPause(state) : [];
  const ask = commandsToAskAfterGuest(state);
  const mayRecover = state.recoveryDue && restBeforeRecoveryUs(state) !== null;
  return mayRecover ? [...pause, ...ask, ...commandsToRecover(state)] : [...pause, ...ask];
}

function commandsToRecover(state: CompleteState): readonly MigrationCommand[] {
  const side = isDone(state, "destination", "recoverMigration") ? "source" : "destination";
  return isSettled(state, side, "recoverMigration")
    ? []
    : [command(state, side, { name: "recoverMigration", recoveryUri: state.recoveryUri })];
}

const IN_POST_COPY: readonly Phase[] = [Phase.POST_COPY, Phase.POST_COPY_PAUSED, Phase.POST_COPY_RECOVERING];

export function isInPostCopy(state: CompleteState): boolean {
  return IN_POST_COPY.includes(state.migration.phase);
}

/** A VMM takes the order to connect, and may say no word of a connection that was refused. */
const TRY_AGAIN_US = 5_000_000n;

/** When the recovery of the present pause is due, or is taken for failed; null where nothing is waited for. */
export function recoveryDueAtUnixUs(
  state: CompleteState,
  pausedAtUnixUs: bigint,
  nowUnixUs: bigint,
): bigint | null {
  if (state.migration.phase === Phase.POST_COPY_PAUSED) {
    const restUs = restBeforeRecoveryUs(state);
    if (restUs === null) return null;
    if (!state.recoveryDue) return pausedAtUnixUs + restUs;
  } else if (!isCutOffBeforeStart(state)) return null;
  return isDone(state, "source", "recoverMigration") ? nowUnixUs + TRY_AGAIN_US : null;
}

/** The rest is over, or what was ordered has changed nothing: the destination listens anew, the source connects. */
export function withRecoveryDue(state: CompleteState): CompleteState {
  if (state.migration.phase !== Phase.POST_COPY_PAUSED && !isCutOffBeforeStart(state)) return state;
  return withFacts(withoutRecovery(state), { recoveryDue: true });
}

/** Forgets how far the present recovery is. */
export function withoutRecovery(state: CompleteState): CompleteState {
  return withFacts(withoutCommands(state, ["recoverMigration", "pauseMigration"]), { recoveryUri: "" });
}

/** A caller's pause: it also keeps a transfer paused that broke by itself. */
export function withPauseAsked(state: CompleteState): CompleteState {
  return isInPostCopy(state) ? withFacts(state, { pauseHeld: true }) : state;
}

/** A caller's recovery: at once, and whatever was tried before. */
export function withRecoveryAsked(state: CompleteState): CompleteState {
  if (!isInPostCopy(state)) return state;
  return withFacts(withoutRecovery(state), {
    pauseHeld: false,
    pauseWanted: false,
    pauses: 0,
    recoveryDue: true,
  });
}
