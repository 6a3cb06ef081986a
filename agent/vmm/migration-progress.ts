import { optionalNumber, optionalText, readObject } from "./json-reader.ts";
import { type MigrationAddress, parseMigrationAddresses } from "./migration-address.ts";
import { type MigrationStatus, parseMigrationStatus } from "./migration-status.ts";
import { isJsonObject } from "./qmp-codec.ts";

/** One answer to `query-migrate`. A destination reports status and addresses alone; its numbers stay 0. */
export interface MigrationProgress {
  /** `none` before the first migration of this QEMU. */
  readonly status: MigrationStatus;
  readonly statusText: string;
  readonly transferredBytes: number;
  /** Guest memory that is still to be sent, as of the last pass. */
  readonly remainingBytes: number;
  readonly totalBytes: number;
  /** Megabits per second over the last measured interval (`mbps`). */
  readonly rateMbps: number;
  readonly dirtyPagesPerSecond: number;
  /** Passes over the guest's memory so far (`dirty-sync-count`). */
  readonly passes: number;
  /** Pages that the destination asked for in post-copy (`postcopy-requests`). */
  readonly postcopyRequests: number;
  /** What QEMU expects the stop to last, while it is still to come. */
  readonly expectedDowntimeMs: number | undefined;
  /** What the stop lasted, in QEMU's view, once the migration has completed. */
  readonly downtimeMs: number | undefined;
  readonly setupMs: number | undefined;
  readonly totalMs: number | undefined;
  /** Why the migration failed; a failed connection is told here only, `migrate` itself has succeeded. */
  readonly errorDesc: string | undefined;
  /** Where a destination listens; empty on a source. */
  readonly addresses: readonly MigrationAddress[];
}

/** Throws INTERNAL QMP_MALFORMED where the answer is not an object; what is missing in it reads as 0 or undefined. */
export function parseMigrationProgress(value: unknown): MigrationProgress {
  const answer = readObject(value, "query-migrate");
  const ram = isJsonObject(answer.ram) ? answer.ram : {};
  const statusText = optionalText(answer, "status") ?? "none";
  return {
    status: parseMigrationStatus(statusText),
    statusText,
    transferredBytes: optionalNumber(ram, "transferred") ?? 0,
    remainingBytes: optionalNumber(ram, "remaining") ?? 0,
    totalBytes: optionalNumber(ram, "total") ?? 0,
    rateMbps: optionalNumber(ram, "mbps") ?? 0,
    dirtyPagesPerSecond: optionalNumber(ram, "dirty-pages-rate") ?? 0,
    passes: optionalNumber(ram, "dirty-sync-count") ?? 0,
    postcopyRequests: optionalNumber(ram, "postcopy-requests") ?? 0,
    expectedDowntimeMs: optionalNumber(answer, "expected-downtime"),
    downtimeMs: optionalNumber(answer, "downtime"),
    setupMs: optionalNumber(answer, "setup-time"),
    totalMs: optionalNumber(answer, "total-time"),
    errorDesc: optionalText(answer, "error-desc"),
    addresses: parseMigrationAddresses(answer["socket-address"]),
  };
}

/**
 * How far this VMM's last transfer went, whichever of the two ends it was: past a switch the guest may be at either.
 * `nothing`: there was none, nor does it listen for one.
 */
export function transferredBy({
  statusText,
}: Pick<MigrationProgress, "statusText">): "past a switch" | "no guest" | "nothing" {
  if (statusText === "none") return "nothing";
  return /^(postcopy-.*|completed)$/.test(statusText) ? "past a switch" : "no guest";
}
