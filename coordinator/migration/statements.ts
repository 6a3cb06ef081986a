import {
  type CompleteState,
  guestIdOf,
  hostOf,
  migrationIdIn,
  type Side,
  withSide,
} from "./complete-state.ts";
import { isDestinationReady, withEnding, withRaisedEpoch } from "./facts.ts";

/** Nobody has answered for the host for long; what it does is unknown, and nothing follows from that alone. */
export function withHostUnreachable(state: CompleteState, side: Side, atUnixUs: bigint): CompleteState {
  const { hostDead, hostUnreachable } = state[side];
  if (hostDead || hostUnreachable) return state;
  return withSide(state, side, { hostUnreachable: true, unreachableSinceUnixUs: atUnixUs });
}

/**
 * What follows when an operator, or the fencing command, states that a host is dead: nothing runs there, so the
 * right to run may move without that side's word.
 *
 * A dead source that had not handed off leaves its guest to a destination that has loaded all of it; the word that
 * the destination waits for is then the statement's, under an epoch of its own.
 */
export function withHostDead(state: CompleteState, side: Side, atUnixUs: bigint): CompleteState {
  if (state[side].hostDead) return state;
  const dead = withSide(state, side, {
    hostDead: true,
    hostUnreachable: false,
    unreachableSinceUnixUs: 0n,
    fenceWanted: false,
  });
  const sentence = `Host ${hostOf(state, side)} was declared dead.`;
  if (side === "destination") return withEnding(dead, "DESTINATION_DEAD", sentence);
  if (dead.handedOff) return dead;
  if (dead.kept || dead.postCopyActive || dead.destination.vmmLost || !isDestinationReady(dead)) {
    return withEnding(dead, "SOURCE_DEAD", sentence);
  }
  return withStatedHandOff(dead, atUnixUs);
}

function withStatedHandOff(state: CompleteState, atUnixUs: bigint): CompleteState {
  const raised = withRaisedEpoch(state, state.migration.fence.epoch);
  return {
    ...raised,
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
      journaledAtUnixUs: atUnixUs,
    },
  };
}
