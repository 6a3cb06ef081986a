import type { CompleteState, Side } from "./complete-state.ts";
import { isSettled } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

const SIDES: readonly Side[] = ["source", "destination"];

/** Where an unreachable host alone keeps a migration from its end, it is to be powered off. */
export function withFenceWanted(state: CompleteState): CompleteState {
  let wanted = state;
  for (const side of SIDES) {
    if (wanted[side].hostUnreachable && !wanted[side].hostDead) {
      wanted = { ...wanted, [side]: { ...wanted[side], fenceWanted: true } };
    }
  }
  return wanted;
}

/** Powers off the hosts that were silent for too long; one that speaks again by then is left alone. */
export function commandsToFence(state: CompleteState): readonly MigrationCommand[] {
  return SIDES.filter((side) => {
    const { fenceWanted, hostDead } = state[side];
    return fenceWanted && !hostDead && !isSettled(state, side, "fenceHost");
  }).map((side) => command(state, side, { name: "fenceHost" }));
}
