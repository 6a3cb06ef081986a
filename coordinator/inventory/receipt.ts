import { SwitchoverError } from "../../proto/error.ts";
import type { PhaseEntry } from "../../proto/gen/switchover/v1/migration.ts";
import type { PhaseSpan, Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import type { CompleteState } from "../migration/complete-state.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { clockBehindUs, switchoverSpans } from "./switchover-spans.ts";

/**
 * The receipt of an ended migration, a function of what is kept of it: the same whenever and wherever it is asked for.
 * FAILED_PRECONDITION / NOT_ENDED for one that goes on.
 */
export function receiptOf({ migration, source, destination }: CompleteState): Receipt {
  const { spec, fence, phases, instants } = migration;
  if (!isTerminal(migration.phase)) {
    throw new SwitchoverError("FAILED_PRECONDITION", "The migration has not ended: it has no receipt yet.", {
      reason: "NOT_ENDED",
      field: "migration_id",
    });
  }
  return {
    migrationId: migration.migrationId,
    requestId: migration.requestId,
    guestId: spec.guestId,
    source: { hostId: spec.sourceHostId, instanceId: source.instanceId },
    destination: { hostId: spec.destinationHostId, instanceId: destination.instanceId },
    mode: spec.mode,
    labels: spec.labels,
    epoch: fence.epoch,
    phase: migration.phase,
    outcome: migration.outcome,
    reason: migration.reason,
    reasonCode: migration.reasonCode,
    requestedAtUnixUs: migration.requestedAtUnixUs,
    endedAtUnixUs: phases.at(-1)?.atUnixUs ?? migration.requestedAtUnixUs,
    phases: phases.map((entry, index) => phaseSpan(entry, phases[index + 1])),
    instants,
    spans: switchoverSpans(instants),
    transfer: migration.progress,
    destinationClockBehindUs: clockBehindUs(instants),
  };
}

function phaseSpan({ phase, atUnixUs, reason }: PhaseEntry, next: PhaseEntry | undefined): PhaseSpan {
  const durationUs = next === undefined ? 0n : next.atUnixUs - atUnixUs;
  return { phase, enteredAtUnixUs: atUnixUs, durationUs, reason };
}
