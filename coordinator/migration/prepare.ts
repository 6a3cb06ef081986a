import type { NicName } from "../../proto/gen/switchover/v1/guest.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { compareNics, nicNamesText } from "../../proto/nic-names.ts";
import { type CompleteState, SIDES } from "./complete-state.ts";
import { isDone, isSettled, mayBePrepared } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * PENDING, PREPARING: both hosts are asked what would refuse the migration, then the destination is prepared, then
 * the source is armed. Until both preflights have passed nothing was changed anywhere.
 */
export function leavePending(state: CompleteState): Phase | null {
  return state.cancelAsked ? Phase.CANCELLING : null;
}

export function leavePreparing(state: CompleteState): Phase | null {
  if (state.cancelAsked) return Phase.CANCELLING;
  if (state.endingReasonCode !== "") {
    if (mayBePrepared(state)) return Phase.ROLLING_BACK;
    // Both answers are worth having: the source's says how the guest is left, and both are told at once.
    const answered = isSettled(state, "source", "preflight") && isSettled(state, "destination", "preflight");
    return answered ? Phase.FAILED : null;
  }
  return isDone(state, "source", "armSource") ? Phase.TRANSFERRING : null;
}

/** Whether both hosts would wire the same NICs, as far as both have told; a guest may leave none of them behind. */
export function nicDifferenceIn({ source, destination }: CompleteState): NicDifference {
  if (source.nics === undefined || destination.nics === undefined) return { found: "none" };
  return nicDifferenceOf(source.nics.nics, destination.nics.nics);
}

export type NicDifference =
  | { readonly found: "none" }
  | { readonly found: "differ"; readonly sentence: string };

export function nicDifferenceOf(source: readonly NicName[], destination: readonly NicName[]): NicDifference {
  const { onlyHere, onlyThere } = compareNics(source, destination);
  const sentences = [
    ...(onlyHere.length === 0 ? [] : [`Only the source has ${nicNamesText(onlyHere)}.`]),
    ...(onlyThere.length === 0 ? [] : [`Only the destination has ${nicNamesText(onlyThere)}.`]),
  ];
  return sentences.length === 0 ? { found: "none" } : { found: "differ", sentence: sentences.join(" ") };
}

export function commandsOfPreparing(state: CompleteState): readonly MigrationCommand[] {
  const { mode, transfer, sourceHostId, destinationHostId } = state.migration.spec;
  if (!mayBePrepared(state)) {
    return SIDES.filter((side) => !isSettled(state, side, "preflight")).map((side) =>
      command(state, side, { name: "preflight", mode }),
    );
  }
  if (!isDone(state, "destination", "prepareDestination")) {
    return [
      command(state, "destination", {
        name: "prepareDestination",
        sourceHostId: sourceHostId as MigrationCommand["hostId"],
        mode,
        transfer,
      }),
    ];
  }
  return [
    command(state, "source", {
      name: "armSource",
      destinationHostId: destinationHostId as MigrationCommand["hostId"],
      mode,
      transfer,
    }),
  ];
}
