import type { Fence } from "../../proto/epoch.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId, HostId, InstanceId, MigrationId } from "../../proto/ids.ts";
import type { MacAddress } from "../../proto/mac-address.ts";

/**
 * One instance of a guest on this host, as the CPU gate sees it: plain data, changed only by `evolve`.
 *
 *                 armed                  the word is given
 *   resident ---------------> outgoing -------------------> relinquished      (guard: never runs)
 *    ^  ^  ^      kept           |                               |
 *    |  |  `---------------------'                               |
 *    |  `--------------------------------------------------------'
 *    |                        retaken, after the destination's word
 *    | runs, or taken over
 *   incoming <----------- vacant       vacant: a VMM that waits for a guest; incoming: a migration claimed it
 *    |          prepared    |
 *    `----------------------`-> fenced     never started, and never will be   (guard: never runs)
 *
 *   forgotten: found at either end of a switchover of which the journal says nothing; resident once it runs, or is taken
 *   back
 *
 * `resident` and `outgoing` hold the right to run; the others do not.
 */
export interface Guest {
  readonly guestId: GuestId;
  readonly instanceId: InstanceId;
  readonly hostId: HostId;
  /** The newest fence acted on; what is older changes nothing. */
  readonly fence: Fence;
  readonly cpus: Cpus;
  readonly nics: readonly GuestNic[];
  /** Of the NICs that follow its CPUs. */
  readonly registration: "quarantined" | "registered";
  /** The reasons (QEMU's run states) for which it stays registered with its CPUs stopped, as its host's agent is told. */
  readonly staysRegisteredFor: readonly string[];
  readonly stay: Stay;
  /** Failed attempts in a row to change the registration. */
  readonly registrationFailures: number;
  /** Null while nobody has changed what the gate made. */
  readonly drift: Drift | null;
  /** The migration this instance takes part in, or took part in last: its events are told under that name. */
  readonly migration: MigrationTie | null;
  readonly role: Role;
  readonly vmm: "connected" | "lost";
}

/** A NIC as both hosts know it, and whether the gate registers it. */
export interface GuestNic {
  readonly nicId: string;
  readonly macAddress: MacAddress;
  /**
   * `withCpus`: while the CPUs run. `waits`: attached while its guest was to be given away, so first when that is over.
   * `withheld`: the guest's source did not have it; quarantined until it is detached.
   */
  readonly delivery: "withCpus" | "waits" | "withheld";
}
/** Whether a guest is registered with its CPUs stopped for such a reason. `asked`: the reason of its stop is being read. */
export type Stay =
  | { readonly kind: "none" | "stays" }
  | { readonly kind: "asked"; readonly sinceUnixUs: number };

export const NO_STAY: Stay = { kind: "none" };

export type Cpus =
  | { readonly kind: "stopped" /** QEMU's word. */; readonly runState: string }
  | { readonly kind: "running" };

export interface MigrationTie {
  readonly migrationId: MigrationId;
  readonly mode: MigrationMode;
  readonly side: "source" | "destination";
  /** The VMM's migration status as it last said it; "none" before. */
  readonly transferStatus: string;
  /** Of the host's run in which the instance was prepared; empty at a source. */
  readonly bootId: string;
}

export type MigrationMode = "live" | "postCopy";

export type Role = Resident | Outgoing | Relinquished | Forgotten | Vacant | Incoming | Fenced;

/** Holds the right to run. */
export interface Resident {
  readonly kind: "resident";
  /** Set from the order to start the CPUs until they run or the VMM refuses. */
  readonly start: "none" | "registering" | "contSent";
  /** When `cont` was last sent; null before. */
  readonly contSentAtUnixUs: number | null;
  /**
   * Whose stop it is that the CPUs stand, while they do: a switchover's ends with it, an owner's does not. `unread`
   * until QEMU has told the reason of a stop that came with a transfer's end.
   */
  readonly stoppedBy: "owner" | "switchover" | "unread";
}

/** Holds the right to run and gives it away as soon as its VMM can no longer fail back. */
export interface Outgoing {
  readonly kind: "outgoing";
  readonly destinationHostId: HostId;
  /** What proves that the VMM can no longer resume here. */
  readonly pointOfNoReturn: PointOfNoReturn;
  /** QEMU's run state while no switchover has stopped the CPUs. */
  readonly runStateBefore: string;
  /** The stop that may be the switchover's; null while none has come. */
  readonly stop: SwitchoverStop | null;
  /** Answers `postcopy-active` in a row to `query-migrate` sent after the stop. */
  readonly confirmations: number;
  readonly canFailBack: boolean;
  /** Whether `migrate` may have been sent under this epoch. */
  readonly transfer: "notBegun" | "begun";
  /** Whether `migrate-start-postcopy` may have been sent: from then on there is no `migrate_cancel`. */
  readonly postCopy: "notAsked" | "asked";
  /**
   * Whether the guest is to be kept: what QEMU does last decides. `deferred`: asked, and the VMM is not told before its
   * switchover is over. `decided`: it is, and the journal is yet to take it.
   */
  readonly keep: "notAsked" | "deferred" | "asked" | "decided";
}

/**
 * `completed`: live mode, and a guest that was not running in either mode.
 * `postcopyActiveAfterStop`: a QEMU that knows `postcopy-device` (10.2) says `postcopy-active` only when nothing can
 * fail any more.
 * `postcopyActiveTwice`: an older one says it before STOP; two answers after STOP prove that its package is written,
 * since QEMU holds its lock until then.
 */
export type PointOfNoReturn = "completed" | "postcopyActiveAfterStop" | "postcopyActiveTwice";

export interface SwitchoverStop {
  readonly stoppedAtUnixUs: number;
  readonly receivedAtUnixUs: number;
  /** STOP carries no reason: it is joined with the answer of `query-status`. */
  readonly cause: "unread" | "switchover";
  readonly deregisteredAtUnixUs: number | null;
}

/** Gave the right to run away under the fence's epoch; the guard stops it should it run all the same. */
export interface Relinquished {
  readonly kind: "relinquished";
  readonly handOff: HandOff;
  readonly released: "kept" | "released";
}

/**
 * Stands after a switchover, at either end, and the journal, which was lost, does not say whether it gave the guest away, or
 * was given it. Holds no right until somebody who knows says so, or its CPUs run.
 */
export interface Forgotten {
  readonly kind: "forgotten";
  /** By a coordinator who knows that another host has the guest: its devices go with its VMM. */
  readonly released: "kept" | "released";
}

/** A VMM that waits for an incoming guest and that no migration has claimed. */
export interface Vacant {
  readonly kind: "vacant";
  /**
   * What it loads since it was adopted is its owner's. `begunBefore`: it listened, or loaded, already, and the journal, which
   * may have been lost, does not say for whom: a source may still have that guest.
   */
  readonly load: "owners" | "begunBefore";
}

/** Waits for the right to run; starts the CPUs once the guest is loaded, handed off and registered. */
export interface Incoming {
  readonly kind: "incoming";
  readonly sourceHostId: HostId;
  /** The VMM said that the load is through (live) or that the guest's state is on its way in (post-copy). */
  readonly loaded: boolean;
  readonly ready: { readonly runState: string; readonly atUnixUs: number } | null;
  readonly handOff: HandOff | null;
  readonly registrationAsked: boolean;
  /** When its registrations were last read back; null before. */
  readonly readBackAtUnixUs: number | null;
  readonly contSentAtUnixUs: number | null;
  /** `none`: the source could not take the guest back, which only this side can run now. */
  readonly wayBack: "open" | "none";
  /** Why it is never to start here, while the journal is yet to take that; null where it may. */
  readonly givenUp: string | null;
  /** A host that died may have lost the journal's last lines, and a `contSent` with them. */
  readonly memory: "whole" | "mayLackLastWords";
}

/** Journaled that it never started the guest and never will; the guard stops it should it run all the same. */
export interface Fenced {
  readonly kind: "fenced";
  /** Why. */
  readonly sentence: string;
  /** In post-copy the VMM lives on until the source has taken the guest back: without it the source cannot. */
  readonly vmm: "ending" | "heldForSource";
  readonly released: "kept" | "released";
}

/** Holds the right to run, with nothing under way. */
export const RESIDENT: Resident = {
  kind: "resident",
  start: "none",
  contSentAtUnixUs: null,
  stoppedBy: "owner",
};

/** Whether it stands with a guest that may be another host's, where only somebody who knows can say so. */
export function isInDoubt({ cpus, role }: Guest): boolean {
  const isLoaded = cpus.kind === "stopped" && cpus.runState !== "inmigrate";
  return role.kind === "forgotten" || (role.kind === "vacant" && role.load === "begunBefore" && isLoaded);
}

export function holdsRightToRun(guest: Guest): boolean {
  return guest.role.kind === "resident" || guest.role.kind === "outgoing";
}

/** The tie of a migration that has just claimed the instance. */
export function newTie(tie: Omit<MigrationTie, "transferStatus">): MigrationTie {
  return { transferStatus: "none", ...tie };
}

/**
 * What others did to a guest's registration or quarantine, while it lasts and for a while after: the first time it is
 * mended at once, then 10 ms later and doubled up to 1 s, until it was left alone for 10 s.
 */
export interface Drift {
  readonly state: "mended" | "waiting";
  /** Since it was last left alone. */
  readonly attempts: number;
  /** When the last attempt was over, or began if it is not. */
  readonly attemptedAtUnixUs: number;
  /** Since when nothing helps; null where the last attempt did. */
  readonly failingSinceUnixUs: number | null;
  /** What the last attempt left; null where that was nothing, or none was over. */
  readonly leftSentence: string | null;
  readonly alarm: "none" | "raised";
  /** Timers for a next attempt that have not fired. */
  readonly timers: number;
}
