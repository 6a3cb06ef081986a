import { SwitchoverError } from "../../proto/error.ts";
import { MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, type MigrationId, migrationIdOf } from "../../proto/ids.ts";
import {
  type Asked,
  type CompleteState,
  completeState,
  newMigrationState,
  withMigration,
} from "../migration/complete-state.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { movesIn } from "./move-budget.ts";

/**
 * The record of one guest: one value holds the claim, the requests, the epoch and the live migration, so that one
 * compare-and-set decides who migrates the guest. Everything here is a function of that value.
 */

/** What a caller asks for, validated. */
export interface MigrationRequest extends Asked {
  readonly requestId: string;
  readonly guestId: GuestId;
  readonly spec: MigrationSpec;
}

export type Claim =
  /** The guest is this request's, once the record is stored. */
  | { readonly t: "claimed"; readonly record: GuestRecord }
  /** The request made the record's migration before. */
  | { readonly t: "already"; readonly state: CompleteState }
  /** The request made an earlier migration, of which only the history may know more. */
  | { readonly t: "earlier"; readonly migrationId: MigrationId }
  | { readonly t: "refused"; readonly error: SwitchoverError };

/** Requests that a record remembers. */
const REQUESTS_AT_MOST = 32;

/**
 * Decides whether the request gets the guest, which has no migration that still runs then. The epoch lies above all that
 * the record has allotted; preflight raises it above the agents' too. `random` is in [0, 1).
 */
export function claimGuest(
  record: GuestRecord | null,
  request: MigrationRequest,
  atUnixUs: bigint,
  random: number,
): Claim {
  const { requestId, guestId, spec } = request;
  const last = record?.migration === undefined ? null : completeState(record.migration);
  if (last !== null && last.migration.requestId === requestId) {
    return isSameSpec(last.migration.spec, spec)
      ? { t: "already", state: last }
      : { t: "refused", error: requestReused(requestId) };
  }
  const earlier = record?.requests.find((entry) => entry.requestId === requestId);
  if (earlier !== undefined) return { t: "earlier", migrationId: earlier.migrationId as MigrationId };
  if (last !== null && !isTerminal(last.migration.phase)) {
    return { t: "refused", error: guestBusy(guestId, last.migration.migrationId) };
  }
  const epoch = (record?.epoch ?? 0n) + 1n;
  const revision = (record?.revision ?? 0n) + 1n;
  const migrationId = migrationIdOf(guestId, Number(atUnixUs / 1_000n), random);
  const requests = [...(record?.requests ?? []), { requestId, migrationId }].slice(-REQUESTS_AT_MOST);
  const fence = { epoch, revision };
  const migration = newMigrationState(migrationId, requestId, spec, fence, atUnixUs, request);
  const movesAtUnixUs = [...movesIn(record)];
  const committedBy = "";
  return {
    t: "claimed",
    record: { guestId, epoch, revision, migration, requests, committedBy, movesAtUnixUs },
  };
}

/** Two requests that ask for the same thing, field by field. */
export function isSameSpec(left: MigrationSpec, right: MigrationSpec): boolean {
  const bytes = (spec: MigrationSpec) => Buffer.from(MigrationSpec.encode(spec).finish());
  return bytes(left).equals(bytes(right));
}

export function requestReused(requestId: string): SwitchoverError {
  return new SwitchoverError("ALREADY_EXISTS", `Request "${requestId}" asked for something else before.`, {
    reason: "REQUEST_REUSED",
    field: "request_id",
  });
}

function guestBusy(guestId: GuestId, migrationId: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", `Guest ${guestId} is being migrated by ${migrationId}.`, {
    reason: "GUEST_BUSY",
    field: "spec.guest_id",
    metadata: { migration_id: migrationId },
  });
}

/**
 * The record with the migration's next state, one commit on; the state's fence becomes that commit's, and lies above
 * `seenRevision`, which agents may know from commits that the store has lost.
 */
export function commitState(record: GuestRecord, state: CompleteState, seenRevision = 0n): GuestRecord {
  const revision = (seenRevision > record.revision ? seenRevision : record.revision) + 1n;
  const { epoch } = state.migration.fence;
  return {
    ...record,
    epoch,
    revision,
    migration: withMigration(state, { fence: { epoch, revision } }),
  };
}
