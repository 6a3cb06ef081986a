import { SwitchoverError } from "../../proto/error.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import type { Migration, MigrationSpec, Requester } from "../../proto/gen/switchover/v1/migration.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationState, SideState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import type { LogFields } from "../log.ts";

/** One end of a migration. */
export type Side = "source" | "destination";

export const SIDES: readonly Side[] = ["source", "destination"];

export interface CompleteMigration extends Migration {
  readonly spec: MigrationSpec;
  readonly fence: Fence;
}

/** A MigrationState with every part that proto leaves optional and a migration never lacks. */
export interface CompleteState extends MigrationState {
  readonly migration: CompleteMigration;
  readonly source: SideState;
  readonly destination: SideState;
}

/** The state with its parts known to be there; INTERNAL / RECORD_INCOMPLETE for one that no coordinator wrote. */
export function completeState(state: MigrationState): CompleteState {
  if (isComplete(state)) return state;
  throw new SwitchoverError("INTERNAL", "A stored migration lacks its spec, its fence or a side.", {
    reason: "RECORD_INCOMPLETE",
  });
}

/** Whether the state has every part that a migration never lacks. */
export function isComplete(state: MigrationState): state is CompleteState {
  const { migration, source, destination } = state;
  return (
    migration?.spec !== undefined &&
    migration.fence !== undefined &&
    source !== undefined &&
    destination !== undefined
  );
}

function newSide(instanceId: string): SideState {
  return {
    instanceId,
    done: [],
    runState: "",
    failed: [],
    transferStatus: "",
    cpusStopped: false,
    vmmLost: false,
    hostUnreachable: false,
    hostDead: false,
    fenceWanted: false,
    wordsForgotten: false,
    nics: undefined,
  };
}

/** What is known of the call that asked for a migration. */
export interface Asked {
  readonly trace?: GivenTrace | undefined;
  readonly requestedBy?: Requester | undefined;
}

/** A migration that was asked for and nothing more: PENDING, with that as its first phase entry. */
export function newMigrationState(
  migrationId: MigrationId,
  requestId: string,
  spec: MigrationSpec,
  fence: Fence,
  atUnixUs: bigint,
  { trace, requestedBy }: Asked = {},
): CompleteState {
  return {
    migration: {
      migrationId,
      requestId,
      spec,
      fence,
      phase: Phase.PENDING,
      outcome: Outcome.UNSPECIFIED,
      reason: "",
      reasonCode: "",
      phases: [{ phase: Phase.PENDING, atUnixUs, reason: "" }],
      progress: undefined,
      instants: [],
      requestedAtUnixUs: atUnixUs,
      queuePlace: undefined,
      traceparent: trace?.traceparent,
      tracestate: trace?.tracestate,
      clockOffset: undefined,
      nics: [],
      requestedBy,
    },
    source: newSide(spec.sourceInstanceId),
    destination: newSide(spec.destinationInstanceId),
    incomingUri: "",
    handOff: undefined,
    handOffWanted: false,
    takenOver: false,
    pagesComplete: false,
    postCopyWanted: false,
    transferActive: false,
    endingReasonCode: "",
    endingReason: "",
    heardSequences: {},
    kept: false,
    handedOff: false,
    handedBack: false,
    takenBack: false,
    postCopyActive: false,
    cancelAsked: false,
    pauseWanted: false,
    recoveryUri: "",
    wordsClosed: false,
    publishedPhases: 0,
    archived: false,
    pauseHeld: false,
    pauses: 0,
    recoveryDue: false,
    deadlinePassed: false,
    retries: [],
    announcementsEnded: false,
  };
}

/** What every log line about a migration is found by. */
export function logFieldsOf(state: CompleteState): LogFields {
  const { fence, migrationId, spec } = state.migration;
  return { migration_id: migrationId, guest_id: spec.guestId, epoch: String(fence.epoch) };
}

export function guestIdOf(state: CompleteState): GuestId {
  return state.migration.spec.guestId as GuestId;
}

export function migrationIdIn(state: CompleteState): MigrationId {
  return state.migration.migrationId as MigrationId;
}

export function hostOf(state: CompleteState, side: Side): HostId {
  const { spec } = state.migration;
  return (side === "source" ? spec.sourceHostId : spec.destinationHostId) as HostId;
}

/** The side that an agent speaks for; null for a host or an instance that has no part in the migration. */
export function sideOf(state: CompleteState, hostId: string, instanceId: string): Side | null {
  const { spec } = state.migration;
  if (spec.sourceHostId === spec.destinationHostId) {
    if (hostId !== spec.sourceHostId) return null;
    if (instanceId === state.source.instanceId) return "source";
    return instanceId === state.destination.instanceId ? "destination" : null;
  }
  if (hostId === spec.sourceHostId) return "source";
  return hostId === spec.destinationHostId ? "destination" : null;
}

/** The state with other facts. All that changes a state goes through here, for the sake of `copyState`. */
export function withFacts(state: CompleteState, change: Partial<CompleteState>): CompleteState {
  return Object.assign(copyState(state), change);
}

export function withSide(state: CompleteState, side: Side, change: Partial<SideState>): CompleteState {
  const changed = Object.assign(copySide(state[side]), change);
  return withFacts(state, side === "source" ? { source: changed } : { destination: changed });
}

export function withMigration(state: CompleteState, change: Partial<CompleteMigration>): CompleteState {
  return withFacts(state, { migration: Object.assign(copyMigration(state.migration), change) });
}

/**
 * Copies that name every field, and so always have the same ones in the same order: V8 gives them one hidden class. A
 * spread gives its result a class of its own for each place and each class that it meets, until it gives up on all of
 * them; a state then takes ten times as long to copy, and longer to read. Types tell where a new field is missing.
 */
function copyState(state: CompleteState): CompleteState {
  return {
    migration: state.migration,
    source: state.source,
    destination: state.destination,
    incomingUri: state.incomingUri,
    handOff: state.handOff,
    handOffWanted: state.handOffWanted,
    takenOver: state.takenOver,
    pagesComplete: state.pagesComplete,
    postCopyWanted: state.postCopyWanted,
    transferActive: state.transferActive,
    endingReasonCode: state.endingReasonCode,
    endingReason: state.endingReason,
    heardSequences: state.heardSequences,
    kept: state.kept,
    handedOff: state.handedOff,
    handedBack: state.handedBack,
    takenBack: state.takenBack,
    postCopyActive: state.postCopyActive,
    cancelAsked: state.cancelAsked,
    pauseWanted: state.pauseWanted,
    recoveryUri: state.recoveryUri,
    wordsClosed: state.wordsClosed,
    publishedPhases: state.publishedPhases,
    archived: state.archived,
    pauseHeld: state.pauseHeld,
    pauses: state.pauses,
    recoveryDue: state.recoveryDue,
    deadlinePassed: state.deadlinePassed,
    retries: state.retries,
    announcementsEnded: state.announcementsEnded,
  };
}

function copySide(side: SideState): SideState {
  return {
    instanceId: side.instanceId,
    done: side.done,
    runState: side.runState,
    failed: side.failed,
    transferStatus: side.transferStatus,
    cpusStopped: side.cpusStopped,
    vmmLost: side.vmmLost,
    hostUnreachable: side.hostUnreachable,
    hostDead: side.hostDead,
    fenceWanted: side.fenceWanted,
    wordsForgotten: side.wordsForgotten,
    nics: side.nics,
  };
}

function copyMigration(migration: CompleteMigration): CompleteMigration {
  return {
    migrationId: migration.migrationId,
    requestId: migration.requestId,
    spec: migration.spec,
    fence: migration.fence,
    phase: migration.phase,
    outcome: migration.outcome,
    reason: migration.reason,
    reasonCode: migration.reasonCode,
    phases: migration.phases,
    progress: migration.progress,
    instants: migration.instants,
    requestedAtUnixUs: migration.requestedAtUnixUs,
    queuePlace: migration.queuePlace,
    traceparent: migration.traceparent,
    tracestate: migration.tracestate,
    clockOffset: migration.clockOffset,
    nics: migration.nics,
    requestedBy: migration.requestedBy,
  };
}
