import { InstantKind as Kind, type Migration } from "../../../proto/gen/switchover/v1/migration.ts";
import type { Crossing } from "../../lab/bare-ping-pong.ts";
import type { ManagedCrossing } from "../../lab/managed/managed-guest.ts";
import { type ProbeReport, summarizeProbes } from "../../lab/probe.ts";
import type { QmpRecord } from "../../lab/witness/records.ts";
import type { Item } from "./plan.ts";

/** A JSON line: one migration as it was measured. Times are QEMU's, of one clock; what could not be measured is null. */
export interface Measured extends Item {
  readonly seed: number;
  readonly guest_alive: boolean;
  /** The longest time without a reply that a peer saw around the switch: the longer of both peers'. */
  readonly blackout_ms: number | null;
  readonly blackout_ms_of: Readonly<Record<string, number>>;
  /** From the source's STOP until the destination's QEMU had loaded the guest: QEMU's own time. */
  readonly qemu_ms: number | null;
  readonly stop_to_resume_ms: number | null;
  /** RESUME - max(ready, hand-off possible); of those that have something to do between. */
  readonly added_ms: number | null;
  readonly stop_to_deregistered_us: number | null;
  readonly ready_to_cont_us: number | null;
  /** That both hosts had the MAC, by the witnesses of their kernels, where there were any. */
  readonly duplicate_us: number | null;
}

/** Tells the lines of migrations from others that benchmarks print. */
export function isMeasured(line: object): line is Measured {
  return "contender" in line && "blackout_ms" in line;
}

export interface MeasuredTimes {
  readonly stopAtUnixUs: number;
  readonly readyAtUnixUs: number;
  readonly resumeAtUnixUs: number;
}

/** What of a record counts as around the switch. */
const BEFORE_STOP_US = 100_000;
export const AFTER_RESUME_MS = 400;

/** One that QEMU, or a shell, did. */
export function measureBare(
  item: Item,
  seed: number,
  { figures, guest, migration, probes }: Crossing,
  isWitnessed: boolean,
): Measured {
  const times = {
    stopAtUnixUs: migration.sourceStopAtUnixUs,
    readyAtUnixUs: migration.readyAtUnixUs,
    resumeAtUnixUs: migration.destinationResumeAtUnixUs,
  };
  return {
    ...measured(item, seed, times, probes),
    guest_alive: guest === "alive",
    added_ms: item.contender === "shell" ? (times.resumeAtUnixUs - times.readyAtUnixUs) / 1000 : null,
    stop_to_deregistered_us: null,
    ready_to_cont_us: null,
    duplicate_us: isWitnessed ? figures.duplicateUs : null,
  };
}

export function measureManaged(
  item: Item,
  seed: number,
  { figures, guest, migration, probes, record }: ManagedCrossing,
  isWitnessed: boolean,
): Measured {
  const at = instantsOf(migration);
  const { stopAtUnixUs, resumeAtUnixUs } = figures;
  const readyAtUnixUs = at(Kind.READY);
  const times =
    stopAtUnixUs === undefined || resumeAtUnixUs === undefined || readyAtUnixUs === undefined
      ? undefined
      : { stopAtUnixUs, resumeAtUnixUs, readyAtUnixUs };
  const possibleAtUnixUs = handOffPossible(item, migration, record.qmp) ?? stopAtUnixUs;
  const heard = at(Kind.HAND_OFF_RECEIVED);
  const dueAtUnixUs =
    readyAtUnixUs === undefined || heard === undefined ? undefined : Math.max(readyAtUnixUs, heard);
  return {
    ...measured(item, seed, times, probes),
    guest_alive: guest === "alive",
    added_ms:
      times === undefined || possibleAtUnixUs === undefined
        ? null
        : (times.resumeAtUnixUs - Math.max(times.readyAtUnixUs, possibleAtUnixUs)) / 1000,
    stop_to_deregistered_us: between(at(Kind.STOP_RECEIVED), at(Kind.DEREGISTERED)),
    ready_to_cont_us: between(dueAtUnixUs, at(Kind.CONT_SENT)),
    duplicate_us: isWitnessed ? figures.duplicateUs : null,
  };
}

/**
 * When the source's QEMU could no longer resume the guest by itself: in live mode its `completed`. In post-copy QEMU tells
 * nothing after STOP, and STOP itself is taken, which adds to what is counted as ours.
 */
function handOffPossible({ mode }: Item, { spec }: Migration, qmp: readonly QmpRecord[]): number | undefined {
  if (mode !== "live") return undefined;
  return qmp.find(
    ({ fact, instance }) =>
      instance === spec?.sourceInstanceId &&
      fact.kind === "event" &&
      fact.name === "MIGRATION" &&
      fact.data.status === "completed",
  )?.atUnixUs;
}

function measured(
  item: Item,
  seed: number,
  times: MeasuredTimes | undefined,
  probes: readonly ProbeReport[],
) {
  const blackouts = times === undefined ? {} : blackoutsOf(times, probes);
  const longest = Math.max(...Object.values(blackouts));
  return {
    ...item,
    seed,
    blackout_ms: Number.isFinite(longest) ? longest : null,
    blackout_ms_of: blackouts,
    qemu_ms: times === undefined ? null : (times.readyAtUnixUs - times.stopAtUnixUs) / 1000,
    stop_to_resume_ms: times === undefined ? null : (times.resumeAtUnixUs - times.stopAtUnixUs) / 1000,
  };
}

/** Of each peer. A silence that outlasts the watch is as long as that. */
export function blackoutsOf(
  { resumeAtUnixUs, stopAtUnixUs }: MeasuredTimes,
  reports: readonly ProbeReport[],
): Readonly<Record<string, number>> {
  const [from, to] = [stopAtUnixUs - BEFORE_STOP_US, resumeAtUnixUs + AFTER_RESUME_MS * 1000];
  return Object.fromEntries(
    reports.map(({ peer, probes }) => {
      const around = probes.filter(({ sentAtUnixUs }) => sentAtUnixUs >= from && sentAtUnixUs <= to);
      return [peer, summarizeProbes(peer, around, around[0]?.sentAtUnixUs ?? from, to).longestGapMs];
    }),
  );
}

function instantsOf({ instants }: Migration): (kind: Kind) => number | undefined {
  return (kind) => {
    const instant = instants.find((candidate) => candidate.kind === kind);
    return instant === undefined ? undefined : Number(instant.atUnixUs);
  };
}

function between(from: number | undefined, to: number | undefined): number | null {
  return from === undefined || to === undefined ? null : to - from;
}
