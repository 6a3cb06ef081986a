import { CpuState, type HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { isSwitchoverRunState } from "../../proto/switchover-run-state.ts";
import { withoutDelivery } from "./carry-word.ts";
import {
  type CompleteState,
  hostOf,
  SIDES,
  type Side,
  sideOf,
  withFacts,
  withMigration,
  withSide,
} from "./complete-state.ts";
import {
  failureOf,
  isDone,
  isPostCopyMode,
  isUnanswered,
  mayBeAskedAgain,
  NOT_GIVEN,
  withEnding,
  withoutFailures,
} from "./facts.ts";
import { withInstantsOf } from "./instants.ts";
import type { AgentEvent } from "./migration-event.ts";
import { learnStall } from "./stall.ts";
import { learnDestinationStatus, withTakenOver } from "./take-over.ts";

/**
 * What a migration learns from its agents. Words reach the coordinator on two routes, each in order for each host;
 * every word counts once and only after all that its publisher said before it. One of another epoch counts as
 * heard, and teaches nothing.
 */
export function learnAgentWord(state: CompleteState, event: AgentEvent): CompleteState {
  if (event.migrationId !== state.migration.migrationId) return state;
  if (event.t === "EventsForgotten") return learnForgotten(state, event);
  const side = sideOf(state, event.hostId, event.instanceId);
  if (side === null || event.sequence !== nextSequence(state, event.hostId)) return state;
  const heard = withReachable(withHeard(state, event), side);
  if (event.epoch !== state.migration.fence.epoch && !isSoUnderEveryEpoch(state, side, event)) return heard;
  const timed = withInstantsOf(heard, side, event);
  return side === "source" ? learnFromSource(timed, event) : learnFromDestination(timed, event);
}

/** Counts as heard, so that the words after it are; what it was is asked of those who know. */
function learnForgotten(state: CompleteState, event: AgentEvent): CompleteState {
  const { hostId, sequence } = event;
  const sides = SIDES.filter((side) => hostOf(state, side) === hostId);
  if (sides.length === 0 || sequence !== nextSequence(state, hostId)) return state;
  let learned = withHeard(state, event);
  for (const side of sides) {
    learned = withSide(withReachable(learned, side), side, { wordsForgotten: true });
    // What it answered before may be older than what is lost.
    if (side === "destination") learned = withoutDelivery(learned);
    else learned = withoutFailures(learned, side, ({ reason }) => reason === NOT_GIVEN);
  }
  return learned;
}

function withHeard(state: CompleteState, { hostId, sequence }: AgentEvent): CompleteState {
  return withFacts(state, { heardSequences: { ...state.heardSequences, [hostId]: sequence } });
}

const OF_POST_COPY = /^(postcopy-.*|completed)$/;

/**
 * A VMM that is gone is gone, and a guest that was taken over stays so. The statement that the source is dead raises the
 * epoch, perhaps just as the destination acts on the source's own word; of a destination that is dead itself nothing
 * of the kind counts any more.
 */
function isSoUnderEveryEpoch(state: CompleteState, side: Side, event: AgentEvent): boolean {
  const { t } = event;
  if (t === "VmmLost") return true;
  // The stream goes on, breaks and is recovered whoever has the right by then: a declined source stays at its epoch.
  if (t === "TransferStatusChanged") {
    return state.postCopyActive && state.handedOff && OF_POST_COPY.test(event.status);
  }
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

/** It sends the guest: what it had forgotten is no more than how far that was, once it has said that it gave no word. */
function withTransferHeard(state: CompleteState): CompleteState {
  if (!state.source.wordsForgotten) return state;
  const isKnown = state.handedOff || failureOf(state, "source", "getHandOff")?.reason === NOT_GIVEN;
  return isKnown ? withSide(state, "source", { wordsForgotten: false }) : state;
}

function learnFromSource(state: CompleteState, event: AgentEvent): CompleteState {
  switch (event.t) {
    case "TransferProgressed":
      return learnProgress(withTransferHeard(state), event.progress);
    case "TransferStatusChanged":
      return isListeningAnew(state, event.status)
        ? state
        : learnSourceStatus(
            withSide(withTransferHeard(state), "source", { transferStatus: event.status }),
            event,
          );
    case "CpusStopped":
      return withSide(state, "source", { cpusStopped: true });
    case "CpusStarted":
      return withRunState(withSide(state, "source", { cpusStopped: false }), "running");
    case "StopExplained":
      // Of CPUs that the switchover stopped: their owner has them run.
      return isSwitchoverRunState(event.runState) ? state : withRunState(state, event.runState);
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

/** What its owner has the guest do; the source's own word says it once it is given. */
function withRunState(state: CompleteState, runState: string): CompleteState {
  if (state.handedOff || state.source.runState === runState) return state;
  return withSide(state, "source", { runState });
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
  return withFacts(source, { handedOff: true, handOff });
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
      if (state.takenOver || (state.handOffWanted && !isDone(state, "destination", "deliverHandOff"))) {
        return state;
      }
      // "Not yet" may be old by now, and a word that was brought is gone with the agent that had it.
      return withFacts(
        withoutFailures(withoutDelivery(state), "source", ({ reason }) => reason === NOT_GIVEN),
        { handOffWanted: true },
      );
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
