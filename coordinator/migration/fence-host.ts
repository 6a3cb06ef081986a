import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, type Side, withSide } from "./complete-state.ts";
import { isDestinationReady, isDestinationSilent, isSettled, isSourceLost, isSourceSilent } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * The unreachable hosts whose death would let the guest run elsewhere, and which alone keep it from that. A host is
 * never fenced where the guest would be lost with it: not for tidying up, and not in post-copy, where the guest's
 * memory is on both.
 */
export function sidesWorthFencing(state: CompleteState): readonly Side[] {
  if (state.postCopyActive || state.takenOver) return [];
  const sides: Side[] = [];
  const { phase } = state.migration;
  if (phase === Phase.AMBIGUOUS && !state.handedOff && isSourceSilent(state) && isDestinationReady(state)) {
    sides.push("source");
  }
  const waitsForDestination =
    phase === Phase.HANDING_BACK
      ? !state.handedBack
      : phase === Phase.AMBIGUOUS && isDestinationSilent(state);
  if (waitsForDestination && !isSourceLost(state)) sides.push("destination");
  return sides.filter((side) => state[side].hostUnreachable && !state[side].hostDead);
}

/** It is to be powered off from now on, unless it speaks before. */
export function withFenceWanted(state: CompleteState, side: Side): CompleteState {
  return sidesWorthFencing(state).includes(side) ? withSide(state, side, { fenceWanted: true }) : state;
}

export function commandsToFence(state: CompleteState): readonly MigrationCommand[] {
  return sidesWorthFencing(state)
    .filter((side) => state[side].fenceWanted && !isSettled(state, side, "fenceHost"))
    .map((side) => command(state, side, { name: "fenceHost" }));
}
