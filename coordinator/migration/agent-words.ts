import { CpuState, type HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import {
  type CompleteState,
  hostOf,
  type Side,
  sideOf,
  withFacts,
  withMigration,
  withSide,
} from "./complete-state.ts";
import { isPostCopyMode, isUnanswered, mayBeAskedAgain, withEnding, withoutFailures } from "./facts.ts";
import { withInstantsOf } from "./instants.ts";
import type { AgentEvent } from "./migration-event.ts";

/**
 * What a migration learns from its agents. Words reach the coordinator on two routes, each in order for each host;
 * every word counts once and only after all that its publisher said before it. One of another epoch counts as
 * heard, and teaches nothing.
 */
export function learnAgentWord(state: CompleteState, event: AgentEvent): CompleteState {
  if (event.migrationId !== state.migration.migrationId) return state;
  const side = sideOf(state, event.hostId, event.instanceId);
  if (side === null || event.sequence !== nextSequence(state, event.hostId)) return state;
  const heard = withReachable(
    withFacts(state, { heardSequences: { ...state.heardSequences, [event.hostId]: event.sequence } }),
    side,
  );
  if (event.epoch !== state.migration.fence.epoch && !isSoUnderEveryEpoch(state, side, event)) return heard;
  const timed = withInstantsOf(heard, side, event);
  return side === "source" ? learnFromSource(timed, event) : learnFromDestination(timed, event);
}

/**
 * A VMM that is gone is gone, and a guest that was taken over stays so. The statement that the source is dead raises the
 * epoch, perhaps just as the destination acts on the source's own word; of a destination that is dead itself nothing
 * of the kind counts any more.
 */
function isSoUnderEveryEpoch(state: CompleteState, side: Side, { t }: AgentEvent): boolean {
  if (t === "VmmLost") return true;
  const isTakingOver = t === "CpusStarted" || t === "TakenOverPaused";
  return side === "destination" && isTakingOver && !state.destination.hostDead;
}

/** The only sequence of that host's words that counts now; later ones are fetched when their turn comes. */
export function nextSequence(state: Pick<CompleteState, "heardSequences">, hostId: string): bigint {
  return (state.heardSequences[hostId] ?? 0n) + 1n;
}

/** Who speaks can be asked again what it did not answer. */
export function withReachable(state: CompleteState, side: Side): CompleteState {
  const reachable = state[side].hostUnreachable
    ? withSide(state, side, {
        hostUnreachable: false,
        fenceWanted: false,
      })
    : state;
  return withoutFailures(reachable, side, (failure) => isUnanswered(failure) && mayBeAskedAgain(failure));
}

function learnFromSource(state: CompleteState, event: AgentEvent): CompleteState {
  switch (event.t) {
    case "TransferProgressed":
      return learnProgress(state, event.progress);
    case "TransferStatusChanged":
      return isListeningAnew(state, event.status)
        ? state
        : learnSourceStatus(withSide(state, "source", { transferStatus: event.status }), event);
    case "CpusStopped":
      return withSide(state, "source", { cpusStopped: true });
    case "CpusStarted":
      return withSide(state, "source", { cpusStopped: false });
    case "HandedOff":
      return withHandOff(state, event.handOff);
    case "TransferStalled":
      return learnStall(state);
    case "Kept":
      return withKept(state, event.runState, event.cpuState);
    case "SourceResumed":
      return withFacts(withSide(state, "source", { cpusStopped: false, runState: event.runState }), {
        takenBack: true,
      });
    case "VmmLost": {
      const lost = withSide(state, "source", { vmmLost: true });
      return state.handedOff ? lost : withEnding(lost, "SOURCE_VMM_LOST", event.sentence);
    }
    default:
      return state;
  }
}

function learnProgress(
  state: CompleteState,
  progress: NonNullable<CompleteState["migration"]["progress"]>,
): CompleteState {
  const learned = withFacts(withMigration(state, { progress }), { transferActive: true });
  return learned.postCopyWanted ? learned : withFacts(learned, { postCopyWanted: isPostCopyDue(learned) });
}

/** The policy's trigger that needs no clock: at once, or after so many passes. */
function isPostCopyDue(state: CompleteState): boolean {
  if (!isPostCopyMode(state)) return false;
  const trigger = state.migration.spec.postCopy?.trigger;
  if (trigger === undefined) return state.transferActive;
  return trigger.$case === "afterPasses" && (state.migration.progress?.passes ?? 0) >= trigger.value;
}

/** `migrate-recover` has QEMU say `setup` of a transfer that stays paused. */
function isListeningAnew(state: CompleteState, status: string): boolean {
  return status === "setup" && state.postCopyActive;
}

/** QEMU's MigrationStatus from which on the transfer is under way. */
const UNDER_WAY = ["active", "pre-switchover", "device", "postcopy-active", "completed"];

function learnSourceStatus(
  state: CompleteState,
  { status, error }: { readonly status: string; readonly error: string },
): CompleteState {
  let learned = state;
  if (UNDER_WAY.includes(status)) {
    learned = withFacts(learned, { transferActive: true });
    learned = withFacts(learned, { postCopyWanted: learned.postCopyWanted || isPostCopyDue(learned) });
  }
  if (status.startsWith("postcopy-")) learned = withFacts(learned, { postCopyActive: true });
  if (status === "postcopy-paused") learned = withFacts(learned, { pauseWanted: false });
  if ((status === "failed" || status === "cancelled") && !learned.handedOff) {
    learned = withEnding(
      learned,
      status === "failed" ? "TRANSFER_FAILED" : "TRANSFER_CANCELLED",
      error === "" ? `The source's VMM says that the transfer ${status}.` : error,
    );
    // QEMU's last state of a transfer that never was in post-copy: it cannot end in `completed` any more.
    if (!learned.postCopyActive) learned = withFacts(learned, { kept: true });
  }
  return learned;
}

/** The source journals one or the other for an epoch; the first that is heard stands. */
export function withHandOff(state: CompleteState, handOff: HandOff | undefined): CompleteState {
  if (state.kept) return state;
  if (handOff === undefined) return withFacts(state, { handedOff: true });
  const { migrationId, fence } = state.migration;
  if (handOff.migrationId !== migrationId || handOff.fence?.epoch !== fence.epoch) return state;
  if (state.handOff !== undefined) return state;
  const source = withSide(state, "source", { cpusStopped: true, runState: handOff.runState });
  return { ...source, handedOff: true, handOff };
}

/** Before the hand-off a transfer that moves no bytes is given up; in post-copy it is paused, to be recovered. */
function learnStall(state: CompleteState): CompleteState {
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

export function withKept(state: CompleteState, runState: string, cpuState: CpuState): CompleteState {
  if (state.handedOff) return state;
  const cpusStopped =
    cpuState === CpuState.UNSPECIFIED ? state.source.cpusStopped : cpuState === CpuState.STOPPED;
  const kept = withFacts(withSide(state, "source", { runState, cpusStopped }), { kept: true });
  return state.cancelAsked
    ? withEnding(kept, "CANCELLED", "The migration was cancelled.")
    : withEnding(kept, "SOURCE_KEPT", "The source keeps the guest.");
}

function learnFromDestination(state: CompleteState, event: AgentEvent): CompleteState {
  switch (event.t) {
    case "TransferStatusChanged":
      return isListeningAnew(state, event.status)
        ? state
        : learnDestinationStatus(withSide(state, "destination", { transferStatus: event.status }), event);
    case "DestinationReady":
      return withSide(state, "destination", { runState: event.runState });
    case "HandOffReceived":
      return withFacts(withHandOff(state, event.handOff), { handOffWanted: false });
    case "HandOffAwaited":
      return state.takenOver ? state : withFacts(state, { handOffWanted: true });
    case "CpusStarted":
      // CPUs that ran without our `cont` are an alarm, and their agent stops them.
      if (event.contSentAtUnixUs === 0n) return state;
      return withTakenOver(withSide(state, "destination", { runState: "running", cpusStopped: false }));
    case "TakenOverPaused":
      return withTakenOver(withSide(state, "destination", { runState: event.runState, cpusStopped: true }));
    case "CpusStopped":
      return withSide(state, "destination", { cpusStopped: true });
    case "HandedBack":
      // It may come before the source handed off, or where it never will: what it means then, the source says.
      if (state.takenOver || state.kept) return state;
      return withEnding(withFacts(state, { handedBack: true }), "HANDED_BACK", event.sentence);
    case "VmmLost": {
      const lost = withSide(state, "destination", { vmmLost: true });
      return withEnding(lost, "DESTINATION_VMM_LOST", event.sentence);
    }
    default:
      return state;
  }
}

/**
 * Only who was given the right to run takes a guest over: whatever was heard of the source, it handed off. (A host that
 * crashes loses what its agent wrote last, and with it the QEMU that it wrote about.)
 */
export function withTakenOver(state: CompleteState): CompleteState {
  if (state.handedBack) return state;
  return withFacts(state, { kept: false, handedOff: true, takenOver: true, handOffWanted: false });
}

function learnDestinationStatus(
  state: CompleteState,
  { status, error }: { readonly status: string; readonly error: string },
): CompleteState {
  if (status === "completed") return withFacts(state, { pagesComplete: true });
  if (status.startsWith("postcopy-")) return withFacts(state, { postCopyActive: true });
  if (status !== "failed") return state;
  const sentence =
    error === "" ? `The VMM on ${hostOf(state, "destination")} failed to load the guest.` : error;
  return withEnding(state, "LOAD_FAILED", sentence);
}
