import {
  type InstantKind,
  instantKindToJSON,
  InstantKind as Kind,
  type Migration,
} from "../../../proto/gen/switchover/v1/migration.ts";
import type { MigrationMode } from "../bare-migration.ts";
import type { Crossing } from "../bare-ping-pong.ts";
import type { ProbeReport } from "../probe.ts";
import { phaseName } from "./feed-observer.ts";
import type { ManagedCrossing } from "./managed-guest.ts";

/** One migration as the lab's command prints it, a JSON line each; what could not be measured is null. */
export interface MigrationReport {
  readonly mode: MigrationMode;
  readonly from: string;
  readonly to: string;
  readonly phase: string;
  readonly guest_alive: boolean;
  readonly probes: readonly PeerReport[];
  /** Source agent's clock: STOP received until the kernel had acknowledged the removal of all NICs. */
  readonly stop_to_deregistered_us: number | null;
  /** Destination agent's clock: ready and handed off until `cont` was sent. */
  readonly ready_to_cont_us: number | null;
  /** The two QEMUs' own time stamps. */
  readonly stop_to_resume_ms: number | null;
  /** The source QEMU's own word: STOP until all was sent that the destination needs. */
  readonly vmm_downtime_ms: number | null;
  /** When each step happened, in microseconds after the source's STOP; the hosts of a lab share one clock. */
  readonly timeline_us: Readonly<Record<string, number>>;
  /** By the witness of both bridges: both hosts had an entry. */
  readonly duplicate_us: number;
  /** By the witness: the destination had an entry before the source's CPUs stopped. */
  readonly early_us: number;
  /** By the witness: the destination had its entry when its CPUs started. */
  readonly registered_before_resume: boolean;
  /** Broken invariants, each with a sentence; empty when all hold. */
  readonly violations: readonly string[];
}

export interface PeerReport {
  readonly peer: string;
  readonly sent: number;
  readonly lost: number;
  readonly longest_gap_ms: number;
}

export function reportOf(
  mode: MigrationMode,
  from: string,
  to: string,
  { migration, feedFaults, figures, guest, probes, verdicts, vmmDowntimeMs }: ManagedCrossing,
): MigrationReport {
  const at = instantsOf(migration);
  const ready = latest(at(Kind.READY), at(Kind.HAND_OFF_RECEIVED));
  return {
    mode,
    from,
    to,
    phase: phaseName(migration.phase),
    guest_alive: guest !== "dead",
    probes: probes.map(toPeerReport),
    stop_to_deregistered_us: between(at(Kind.STOP_RECEIVED), at(Kind.DEREGISTERED)),
    ready_to_cont_us: between(ready, at(Kind.CONT_SENT)),
    stop_to_resume_ms: figures.stopToResumeUs === undefined ? null : figures.stopToResumeUs / 1000,
    vmm_downtime_ms: vmmDowntimeMs ?? null,
    timeline_us: timelineOf(migration),
    duplicate_us: figures.duplicateUs,
    early_us: figures.earlyUs,
    registered_before_resume: figures.registeredBeforeResume === "yes",
    violations: [
      ...verdicts.flatMap(({ invariant, violations }) =>
        violations.map((violation) => `${invariant}: ${violation}`),
      ),
      ...feedFaults,
    ],
  };
}

/** The same for a migration by QEMU alone, where nobody registers anything. */
export function bareReportOf(
  mode: MigrationMode,
  from: string,
  to: string,
  { figures, guest, probes, vmmDowntimeMs }: Crossing,
): MigrationReport {
  return {
    mode,
    from,
    to,
    phase: "BARE",
    guest_alive: guest === "alive",
    probes: probes.map(toPeerReport),
    stop_to_deregistered_us: null,
    ready_to_cont_us: null,
    stop_to_resume_ms: figures.stopToResumeUs === undefined ? null : figures.stopToResumeUs / 1000,
    vmm_downtime_ms: vmmDowntimeMs ?? null,
    timeline_us: {},
    duplicate_us: figures.duplicateUs,
    early_us: figures.earlyUs,
    registered_before_resume: false,
    violations: [],
  };
}

function toPeerReport({ peer, sent, lost, longestGapMs }: ProbeReport): PeerReport {
  return { peer, sent, lost, longest_gap_ms: longestGapMs };
}

const instantName = (kind: InstantKind): string => instantKindToJSON(kind).replace(/^INSTANT_KIND_/, "");

function timelineOf({ instants }: Migration): Readonly<Record<string, number>> {
  const stoppedAtUnixUs = instants.find(({ kind }) => kind === Kind.STOPPED)?.atUnixUs;
  if (stoppedAtUnixUs === undefined) return {};
  const sinceStop = instants.map(({ kind, atUnixUs }) => [
    instantName(kind),
    Number(atUnixUs - stoppedAtUnixUs),
  ]);
  return Object.fromEntries(sinceStop);
}

/** The first instant of a kind, in microseconds of its host's clock. */
function instantsOf(migration: Migration): (kind: InstantKind) => number | undefined {
  return (kind) => {
    const instant = migration.instants.find((candidate) => candidate.kind === kind);
    return instant === undefined ? undefined : Number(instant.atUnixUs);
  };
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : Math.max(a, b);
}

function between(from: number | undefined, to: number | undefined): number | null {
  return from === undefined || to === undefined ? null : to - from;
}
