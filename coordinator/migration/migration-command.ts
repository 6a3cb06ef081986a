import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { MigrationMode, TransferParameters } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { type CompleteState, guestIdOf, hostOf, migrationIdIn, type Side } from "./complete-state.ts";

/**
 * What a migration asks of an agent; every command is idempotent, and fenced except where it changes nothing.
 * The names are stored in the record and stay as they are across releases.
 */
export type CommandBody =
  /** Says what would refuse the migration; changes nothing. */
  | { readonly name: "preflight"; readonly mode: MigrationMode }
  /** Measures how the clocks of both hosts compare, by asking both agents; changes nothing. */
  | { readonly name: "compareClocks"; readonly destinationHostId: HostId }
  | {
      readonly name: "prepareDestination";
      readonly sourceHostId: HostId;
      readonly mode: MigrationMode;
      readonly transfer: TransferParameters | undefined;
    }
  | {
      readonly name: "armSource";
      readonly destinationHostId: HostId;
      readonly mode: MigrationMode;
      readonly transfer: TransferParameters | undefined;
    }
  | { readonly name: "beginTransfer"; readonly incomingUri: string }
  /** `migrate-start-postcopy`. */
  | { readonly name: "switchToPostCopy" }
  /** Asks the source's journal for its word; changes nothing. */
  | { readonly name: "getHandOff" }
  | { readonly name: "deliverHandOff"; readonly handOff: HandOff }
  | { readonly name: "releaseSource" }
  /** Asks the source to keep the guest: answered `kept` or `tooLate`, by its journal. */
  | { readonly name: "cancelTransfer" }
  /** Fences a destination that does not have the right to run, ends its VMM and cleans up. */
  | { readonly name: "abortDestination" }
  /** Asks the destination for its word that it never starts the guest: `handedBack` or `tooLate`. */
  | { readonly name: "handBack" }
  /** Lets the source run the guest again where the switchover had stopped it; its owner had it in that run state. */
  | { readonly name: "resumeSource"; readonly runState: string }
  /** `migrate-pause`, out-of-band. */
  | { readonly name: "pauseMigration" }
  /** `migrate-recover` at the destination, which answers a URI; then `migrate` with `resume` at the source. */
  | { readonly name: "recoverMigration"; readonly recoveryUri: string }
  /** The configured fencing command, for the host of that side; success means that it is dead. */
  | { readonly name: "fenceHost" };

export type CommandName = CommandBody["name"];

/** Whom a command is for, and under which epoch; 0 where the command carries no fence. */
export interface CommandAddress {
  readonly side: Side;
  readonly hostId: HostId;
  readonly migrationId: MigrationId;
  readonly guestId: GuestId;
  readonly instanceId: string;
  readonly epoch: bigint;
}

export type MigrationCommand = CommandAddress & CommandBody;

export function command(state: CompleteState, side: Side, body: CommandBody): MigrationCommand {
  return {
    side,
    hostId: hostOf(state, side),
    migrationId: migrationIdIn(state),
    guestId: guestIdOf(state),
    instanceId: state[side].instanceId,
    // Preflight runs before the epoch is settled: it is what settles it. Clocks know of none.
    epoch: body.name === "preflight" || body.name === "compareClocks" ? 0n : state.migration.fence.epoch,
    ...body,
  };
}

/** Brings the source's journaled word to the destination, and changes nothing else. */
export function carriesTheWord(name: CommandName): boolean {
  return name === "getHandOff" || name === "deliverHandOff";
}

/** Two commands with one key ask for the same thing, so that one answer serves both. */
export function commandKey(of: {
  readonly name: CommandName;
  readonly side: Side;
  readonly epoch: bigint;
}): string {
  return `${of.name}:${of.side}:${of.epoch}`;
}
