import { switchoverSpans } from "../../../coordinator/inventory/switchover-spans.ts";
import type { CompleteState } from "../../../coordinator/migration/complete-state.ts";
import {
  type Migration,
  MigrationMode,
  Outcome,
  Phase,
  type TransferProgress,
} from "../../../proto/gen/switchover/v1/migration.ts";
import { wordOf } from "../../wording/words.ts";
import type { MigrationRow, Standing } from "../page/wire.ts";
import { windowsOf } from "./windows.ts";

/** A migration's line in the list; `progress` is newer than the record's, where somebody told one. */
export function migrationRow({ migration }: CompleteState, progress?: TransferProgress): MigrationRow {
  const { spec, phases, outcome, requestedAtUnixUs } = migration;
  const entered = phases.at(-1)?.atUnixUs ?? requestedAtUnixUs;
  return {
    id: migration.migrationId,
    guest: spec.guestId,
    from: spec.sourceHostId,
    to: spec.destinationHostId,
    mode: spec.mode === MigrationMode.POST_COPY ? "post-copy" : "live",
    phase: wordOf(Phase, migration.phase),
    standing: standingOf(migration),
    outcome: outcome === Outcome.UNSPECIFIED ? "" : wordOf(Outcome, outcome),
    reason: migration.reason,
    reasonCode: migration.reasonCode,
    requestedAtMs: unixMs(requestedAtUnixUs),
    enteredAtMs: unixMs(entered),
    labels: Object.entries(spec.labels)
      .map(([key, value]) => `${key}=${value}`)
      .sort(),
    windows: windowsOf(switchoverSpans(migration.instants, migration.clockOffset)),
    copiedPercent: copiedPercent(progress ?? migration.progress),
  };
}

export function unixMs(us: bigint): number {
  return Number(us / 1_000n);
}

function standingOf({ phase, reasonCode }: Migration): Standing {
  switch (phase) {
    case Phase.COMPLETED:
      return "completed";
    case Phase.CANCELLED:
      return "cancelled";
    case Phase.FAILED:
      return "failed";
    case Phase.PENDING:
      return "waiting";
    case Phase.AMBIGUOUS:
    case Phase.POST_COPY_PAUSED:
    case Phase.HANDING_BACK:
    case Phase.ROLLING_BACK:
      return "attention";
    default:
      return reasonCode === "" ? "open" : "attention";
  }
}

function copiedPercent(progress: TransferProgress | undefined): number | null {
  if (progress === undefined || progress.totalBytes === 0n) return null;
  const left = Number(progress.remainingBytes) / Number(progress.totalBytes);
  return Math.round(100 * Math.min(1, Math.max(0, 1 - left)));
}
