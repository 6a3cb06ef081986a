import { SwitchoverError } from "../../proto/error.ts";
import { type Drain, DrainPhase, type DrainRecord, DrainSpec } from "../../proto/gen/switchover/v1/drain.ts";
import { drainIdOf } from "../../proto/ids.ts";
import { requestReused } from "../record/guest-record.ts";
import type { DrainRequest } from "./drain-request.ts";

/** The record of one host's evacuation. Everything here is a function of that value. */
export type DrainClaim =
  /** The drain begins once the record is stored. */
  | { readonly t: "claimed"; readonly record: DrainRecord }
  /** The request made the record's drain before. */
  | { readonly t: "already"; readonly drain: Drain }
  | { readonly t: "refused"; readonly error: SwitchoverError };

const EARLIER_REQUESTS_AT_MOST = 32;

/** Decides whether the request begins a drain. `random` is in [0, 1). */
export function claimDrain(
  record: DrainRecord | null,
  { requestId, hostId, spec }: DrainRequest,
  atUnixUs: bigint,
  random: number,
): DrainClaim {
  const last = record?.drain;
  if (last?.requestId === requestId) {
    return isSameSpec(last.spec, spec)
      ? { t: "already", drain: last }
      : { t: "refused", error: requestReused(requestId) };
  }
  const earlier = record?.earlierRequestIds ?? [];
  if (earlier.includes(requestId)) return { t: "refused", error: requestReused(requestId) };
  if (last !== undefined && isDrainOpen(last))
    return { t: "refused", error: hostDraining(hostId, last.drainId, "spec.host_id") };
  const drain: Drain = {
    drainId: drainIdOf(hostId, Number(atUnixUs / 1_000n), random),
    requestId,
    spec,
    phase: DrainPhase.DRAINING,
    reasonCode: "",
    reason: "",
    guests: [],
    requestedAtUnixUs: atUnixUs,
    endedAtUnixUs: 0n,
  };
  const ids = last === undefined ? earlier : [...earlier, last.requestId];
  return {
    t: "claimed",
    record: {
      hostId,
      drain,
      revision: (record?.revision ?? 0n) + 1n,
      driver: "",
      cancelAsked: false,
      cancelMigrations: false,
      earlierRequestIds: ids.slice(-EARLIER_REQUESTS_AT_MOST),
    },
  };
}

export function isDrainOpen({ phase }: Pick<Drain, "phase">): boolean {
  return phase === DrainPhase.DRAINING || phase === DrainPhase.CANCELLING;
}

/** The record one commit on. */
export function commitDrain(record: DrainRecord, change: Partial<DrainRecord>): DrainRecord {
  return { ...record, ...change, revision: record.revision + 1n };
}

export function drainUnknown(drainId: string): SwitchoverError {
  return new SwitchoverError("NOT_FOUND", `There is no drain ${drainId}, or later ones of its host came.`, {
    reason: "DRAIN_UNKNOWN",
    field: "drain_id",
  });
}

function isSameSpec(left: DrainSpec | undefined, right: DrainSpec): boolean {
  const bytes = (spec: DrainSpec) => Buffer.from(DrainSpec.encode(spec).finish());
  return left !== undefined && bytes(left).equals(bytes(right));
}

export function hostDraining(hostId: string, drainId: string, field: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", `Host ${hostId} is being drained by ${drainId}.`, {
    reason: "HOST_DRAINING",
    field,
    metadata: { drain_id: drainId },
  });
}
