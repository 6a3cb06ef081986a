import { SwitchoverError } from "../../proto/error.ts";
import type { MigratedNic, Migration, PhaseEntry } from "../../proto/gen/switchover/v1/migration.ts";
import type { PhaseSpan, Receipt, ReceiptNic } from "../../proto/gen/switchover/v1/receipt.ts";
import type { CompleteState } from "../migration/complete-state.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { nicSpans, switchoverTimes } from "./switchover-spans.ts";

/**
 * The receipt of an ended migration, a function of what is kept of it: the same whenever and wherever it is asked for.
 * FAILED_PRECONDITION / NOT_ENDED for one that goes on.
 */
export function receiptOf({ migration, source, destination, retries }: CompleteState): Receipt {
  const { spec, fence, phases, instants, clockOffset } = migration;
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
    ...switchoverTimes(instants, clockOffset),
    transfer: migration.progress,
    requestedBy: migration.requestedBy,
    retries,
    nics: migration.nics.map((nic) => receiptNicOf(nic, migration)),
  };
}

/** Nothing of the host is registered for it. */
const NEEDS_NOTHING = "unmanaged";

function receiptNicOf(nic: MigratedNic, { instants, clockOffset }: Migration): ReceiptNic {
  const own = instants.filter(({ nicId }) => nicId === "" || nicId === nic.nicId);
  const isRegistered = nic.sourceDevice !== NEEDS_NOTHING && nic.destinationDevice !== NEEDS_NOTHING;
  const spans = nicSpans(own, clockOffset, isRegistered ? "registers" : "needs no registration");
  return { nic, instants: own, spans };
}

function phaseSpan({ phase, atUnixUs, reason }: PhaseEntry, next: PhaseEntry | undefined): PhaseSpan {
  const durationUs = next === undefined ? 0n : next.atUnixUs - atUnixUs;
  return { phase, enteredAtUnixUs: atUnixUs, durationUs, reason };
}
