import type { NicName } from "../../proto/gen/switchover/v1/guest.ts";
import { type ClockOffset, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { compareNics, nicNamesText } from "../../proto/nic-names.ts";
import { type CompleteState, SIDES, withMigration } from "./complete-state.ts";
import { isDone, isSettled, mayBePrepared, withDone } from "./facts.ts";
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

/** Also where it comes when nothing more would be measured; the first stands. */
export function withClockOffset(state: CompleteState, clockOffset: ClockOffset): CompleteState {
  if (state.migration.clockOffset !== undefined) return state;
  return withDone(withMigration(state, { clockOffset }), "source", "compareClocks");
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
      ...commandsToCompareClocks(state),
      command(state, "destination", {
        name: "prepareDestination",
        sourceHostId: sourceHostId as MigrationCommand["hostId"],
        mode,
        transfer,
      }),
    ];
  }
  return [
    ...commandsToCompareClocks(state),
    command(state, "source", {
      name: "armSource",
      destinationHostId: destinationHostId as MigrationCommand["hostId"],
      mode,
      transfer,
    }),
  ];
}

/**
 * Beside what arms the hosts and begins the transfer, and never in its way: a migration whose clocks could not be compared
 * goes on without. Not begun once the transfer is under way, for the CPUs may move any time from then on.
 */
export function commandsToCompareClocks(state: CompleteState): readonly MigrationCommand[] {
  const { sourceHostId, destinationHostId } = state.migration.spec;
  if (sourceHostId === destinationHostId || state.transferActive || state.cancelAsked) return [];
  if (isSettled(state, "source", "compareClocks")) return [];
  return [
    command(state, "source", {
      name: "compareClocks",
      destinationHostId: destinationHostId as MigrationCommand["hostId"],
    }),
  ];
}
