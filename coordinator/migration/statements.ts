import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isWordCarried, withGuestAsked } from "./carry-word.ts";
import {
  type CompleteState,
  guestIdOf,
  hostOf,
  migrationIdIn,
  type Side,
  withFacts,
  withSide,
} from "./complete-state.ts";
import { enterPhase } from "./enter-phase.ts";
import {
  isDestinationReady,
  isPostCopyMode,
  isRefused,
  isSourceLost,
  mayHaveBegun,
  withEnding,
  withRaisedEpoch,
} from "./facts.ts";

/** Nobody has answered for the host for long; what it does is unknown, and nothing follows from that alone. */
export function withHostUnreachable(state: CompleteState, side: Side): CompleteState {
  const { hostDead, hostUnreachable } = state[side];
  return hostDead || hostUnreachable ? state : withSide(state, side, { hostUnreachable: true });
}

/**
 * What follows when an operator, or the fencing command, states that a host is dead: nothing runs there, so the
 * right to run may move without that side's word.
 *
 * A dead source that had not handed off leaves its guest to a destination that has loaded all of it; the word that
 * the destination waits for is then the statement's, under an epoch of its own. Whether it has loaded all, it knows best:
 * it is given the word in live mode also where nothing was heard of that, and hands back what it cannot start.
 */
export function withHostDead(state: CompleteState, side: Side, atUnixUs: bigint): CompleteState {
  if (state[side].hostDead) return state;
  const dead = withSide(state, side, {
    hostDead: true,
    hostUnreachable: false,
    fenceWanted: false,
  });
  const sentence = `Host ${hostOf(state, side)} was declared dead.`;
  if (side === "destination") return withEnding(dead, "DESTINATION_DEAD", sentence);
  if (dead.handedOff) return dead.postCopyActive && !dead.pagesComplete ? withGuestAsked(dead) : dead;
  if (isDestinationReady(dead) && mayHaveAll(dead)) return withStatedHandOff(dead, atUnixUs);
  const ending = withEnding(dead, "SOURCE_DEAD", sentence);
  // In post-copy mode its VMM may wait for the dead source's pages, and answer nobody: it is asked to hand back.
  const mayStart = mayHaveBegun(dead) && mayHaveAll(dead) && !isPostCopyMode(dead);
  return mayStart ? withStatedHandOff(ending, atUnixUs) : ending;
}

/** The destination may have all of the guest, and nothing keeps it from starting it. */
function mayHaveAll({ destination, handedBack, kept, postCopyActive }: CompleteState): boolean {
  const isGone = destination.vmmLost || destination.hostDead || destination.transferStatus === "failed";
  return !kept && !postCopyActive && !handedBack && !isGone;
}

/** The word that a destination waits for and no source gives; under an epoch of its own. */
export function withStatedHandOff(state: CompleteState, atUnixUs: bigint): CompleteState {
  const raised = withRaisedEpoch(state, state.migration.fence.epoch);
  return withFacts(raised, {
    handedOff: true,
    handOffWanted: true,
    handOff: {
      migrationId: migrationIdIn(raised),
      guestId: guestIdOf(raised),
      sourceHostId: hostOf(raised, "source"),
      sourceInstanceId: raised.source.instanceId,
      destinationHostId: hostOf(raised, "destination"),
      fence: raised.migration.fence,
      runState: raised.source.runState === "" ? "running" : raised.source.runState,
      stoppedAtUnixUs: 0n,
      deregisteredAtUnixUs: 0n,
      nics: undefined,
      journaledAtUnixUs: atUnixUs,
    },
  });
}

/** Phases that may wait for what never comes, and end with a guest that an operator gives up. */
const MAY_BE_GIVEN_UP: readonly Phase[] = [
  Phase.AMBIGUOUS,
  Phase.HANDING_BACK,
  Phase.CANCELLING,
  Phase.ROLLING_BACK,
  Phase.POST_COPY_PAUSED,
  Phase.POST_COPY_RECOVERING,
];

export function mayBeGivenUp(state: CompleteState): boolean {
  const { phase } = state.migration;
  if (phase === Phase.SWITCHING_OVER) return isWordCarried(state);
  if (phase === Phase.POST_COPY)
    return isSourceLost(state) || isRefused(state, "destination", "deliverHandOff");
  return MAY_BE_GIVEN_UP.includes(phase);
}

/** The guest's right is out, or nobody says where it is: the source may ask for it back, and waits until it has it. */
export function mayBeResumed(state: CompleteState): boolean {
  const { phase } = state.migration;
  if (phase === Phase.SWITCHING_OVER) return isWordCarried(state);
  return phase === Phase.AMBIGUOUS || phase === Phase.HANDING_BACK;
}

/**
 * What follows when an operator says where a waiting migration ends. The right to run moves by no such choice: a source
 * that is to have the guest back waits for the destination's word, or for the statement that its host is dead.
 */
export function withResolution(
  state: CompleteState,
  resolution: "resumeSource" | "guestLost",
  atUnixUs: bigint,
): CompleteState {
  const { phase } = state.migration;
  if (resolution === "resumeSource") {
    if (!mayBeResumed(state) || phase === Phase.HANDING_BACK || isSourceLost(state)) return state;
    const ending = withEnding(state, "RESOLVED", "An operator has the source run the guest again.");
    return enterPhase(ending, Phase.HANDING_BACK, atUnixUs);
  }
  if (!mayBeGivenUp(state)) return state;
  // Whatever the source's VMM still is, the operator has given its guest up.
  const given = withFacts(state, {
    endingReasonCode: "GIVEN_UP",
    endingReason: "An operator gave the guest up.",
  });
  const lost = withSide(given, "source", { vmmLost: true });
  return enterPhase(lost, phase === Phase.CANCELLING ? Phase.CANCELLED : Phase.FAILED, atUnixUs);
}
