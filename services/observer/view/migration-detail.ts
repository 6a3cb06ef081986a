import { AT_SOURCE, switchoverTimes } from "../../../coordinator/inventory/switchover-spans.ts";
import type { CompleteState } from "../../../coordinator/migration/complete-state.ts";
import {
  type Instant,
  InstantKind,
  instantKindToJSON,
  Phase,
} from "../../../proto/gen/switchover/v1/migration.ts";
import { SpanKind, spanKindToJSON } from "../../../proto/gen/switchover/v1/receipt.ts";
import { INSTANT_WORDS } from "../../wording/instant-words.ts";
import { SPAN_WORDS } from "../../wording/span-words.ts";
import { wordOf } from "../../wording/words.ts";
import type { DetailInstant, DetailNic, DetailPhase, DetailSpan, MigrationDetail } from "../page/wire.ts";
import { migrationRow, unixMs } from "./migration-row.ts";

/** All that is known of a migration; every figure is made as its receipt's. */
export function migrationDetail(state: CompleteState): MigrationDetail {
  const { migration, source, destination } = state;
  const { clockOffset, instants } = migration;
  const told = switchoverTimes(instants, clockOffset);
  return {
    row: migrationRow(state),
    requestId: migration.requestId,
    epoch: String(migration.fence.epoch),
    sourceInstance: source.instanceId,
    destinationInstance: destination.instanceId,
    phases: phasesOf(state),
    instants: instantsOf(instants, told.destinationMovedByUs),
    spans: told.spans.map(
      (span): DetailSpan => ({
        kind: spanKindToJSON(span.kind).replace(/^SPAN_KIND_/, ""),
        words: SPAN_WORDS.get(span.kind) ?? wordOf(SpanKind, span.kind),
        durationUs: Number(span.durationUs),
        acrossClocks: span.acrossClocks,
      }),
    ),
    clockBehindUs: Number(told.destinationClockBehindUs),
    nics: nicsOf(state),
  };
}

function phasesOf({ migration: { phases } }: CompleteState): readonly DetailPhase[] {
  return phases.map(({ phase, atUnixUs, reason }, index) => {
    const next = phases[index + 1];
    return {
      phase: wordOf(Phase, phase),
      atMs: unixMs(atUnixUs),
      durationUs: next === undefined ? null : Number(next.atUnixUs - atUnixUs),
      reason,
    };
  });
}

/** From STOP on; of a guest that was not running, from the first. */
function instantsOf(instants: readonly Instant[], destinationMovedByUs: bigint): readonly DetailInstant[] {
  const timeOf = ({ kind, atUnixUs }: Instant) =>
    AT_SOURCE.includes(kind) ? atUnixUs : atUnixUs + destinationMovedByUs;
  const first = instants.find(({ kind }) => kind === InstantKind.STOPPED) ?? instants[0];
  const origin = first === undefined ? 0n : timeOf(first);
  return instants
    .map((instant): DetailInstant => {
      const { kind, hostId } = instant;
      return {
        kind: instantKindToJSON(kind).replace(/^INSTANT_KIND_/, ""),
        words: INSTANT_WORDS.get(kind) ?? wordOf(InstantKind, kind),
        lane: AT_SOURCE.includes(kind) ? "source" : "destination",
        host: hostId,
        atUs: Number(timeOf(instant) - origin),
      };
    })
    .sort((left, right) => left.atUs - right.atUs);
}

function nicsOf({ handOff, source, destination }: CompleteState): readonly DetailNic[] {
  const nics = handOff?.nics?.nics ?? source.nics?.nics ?? destination.nics?.nics ?? [];
  return nics.map(({ nicId, macAddress }) => ({ id: nicId, mac: macAddress }));
}
