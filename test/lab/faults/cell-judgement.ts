import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import type { Migration } from "../../../proto/gen/switchover/v1/migration.ts";
import { phaseName } from "../managed/feed-observer.ts";
import { judgeFeed } from "../witness/feed-judgement.ts";
import { judgeRun, UNTIMED_BOUNDS, type WitnessedRun } from "../witness/invariants.ts";
import { runningIntervals } from "../witness/timeline.ts";
import { type CellEnd, type CellSide, cellEndText, type FaultCell } from "./fault-cell.ts";
import type { Sides } from "./inflict.ts";

/**
 * `lost`: no QEMU has it, or not all of its pages. `died`: an emulated guest now and then dies in migration by QEMU's own
 * doing (see guest.ts); its kernel says so on the serial port, or its CPUs run where they must and it does not beat.
 */
export type GuestLife = "alive" | "died" | "lost";

/** What was seen of one run of a cell. */
export interface CellEvidence {
  readonly cell: FaultCell;
  readonly sides: Sides;
  readonly migration: Migration;
  readonly end: CellEnd;
  readonly guest: GuestLife;
  readonly record: WitnessedRun;
  /** What the feed's stream keeps. */
  readonly feed: readonly FeedEvent[];
  readonly registered: readonly CellSide[];
  /** The longest time in which one of the peers had no answer of the guest. */
  readonly silentMs: number;
  /** From the strike to the migration's end. */
  readonly struckForMs: number;
  readonly endedBy: "itself" | "operator";
  readonly leftovers: readonly string[];
}

/** One run of a cell, judged. */
export interface CellRun {
  readonly cell: string;
  readonly end: CellEnd;
  readonly guest: GuestLife;
  readonly reasonCode: string;
  readonly registered: readonly CellSide[];
  readonly feed: "complete" | "faulty";
  /** Null where the guest is lost. */
  readonly silentMs: number | null;
  readonly struckForMs: number;
  readonly endedBy: "itself" | "operator";
  /** What is wrong, a sentence each; empty when all is as it must be. */
  readonly faults: readonly string[];
}

export function judgeCell(evidence: CellEvidence): CellRun {
  const { cell, end, endedBy, feed, guest, migration, record, registered, silentMs, struckForMs } = evidence;
  const feedFaults = judgeWholeFeed(evidence);
  return {
    ...{ cell: cell.name, end, guest, registered, struckForMs, endedBy },
    reasonCode: migration.reasonCode,
    feed: feed.length > 0 && feedFaults.length === 0 ? "complete" : "faulty",
    silentMs: guest === "alive" ? silentMs : null,
    faults: [
      ...notThrough(cell, migration),
      ...(guest === "died" ? [] : [...unexpectedEnd(cell, end, migration), ...misregistered(evidence)]),
      ...judgeRun(record, UNTIMED_BOUNDS).flatMap(({ invariant, violations }) =>
        violations.map((violation) => `${invariant}: ${violation}`),
      ),
      ...feedFaults,
      ...(cell.fault.kind === "host-death" || endedBy === "itself" ? [] : ["Somebody had to act."]),
      ...evidence.leftovers,
    ],
  };
}

function unexpectedEnd(cell: FaultCell, end: CellEnd, { reason }: Migration): readonly string[] {
  const text = cellEndText(end);
  if (cell.ends.some((expected) => cellEndText(expected) === text)) return [];
  const expected = cell.ends.map(cellEndText).join(", or ");
  return [`It ended ${text}${reason === "" ? "" : ` (${reason})`}; due was ${expected}.`];
}

function notThrough({ through }: FaultCell, { phases }: Migration): readonly string[] {
  const went = phases.map(({ phase }) => phaseName(phase));
  return through === undefined || went.includes(through)
    ? []
    : [`It went through ${went.join(", ")}, and never through ${through}.`];
}

/** Registered is where the guest runs, and nowhere else; CPUs that wait for pages which are lost run too. */
function misregistered({ end, registered, record, sides }: CellEvidence): readonly string[] {
  const stillRuns = (side: CellSide) =>
    runningIntervals(record.qmp, sides[side].instance, record.window).at(-1)?.endedBy === "end-of-record";
  const due = (["source", "destination"] as const).filter(
    (side) => side === end.runs || (end.runs === "nowhere" && stillRuns(side)),
  );
  if (due.join() === registered.join()) return [];
  const list = (some: readonly CellSide[]) => (some.length === 0 ? "nowhere" : some.join(" and "));
  return [`At the end the guest is registered at ${list(registered)}, due is ${list(due)}.`];
}

function judgeWholeFeed({ feed, migration, record }: CellEvidence): readonly string[] {
  const isLast = ({ event }: FeedEvent) =>
    event?.$case === "phaseChanged" && event.value.to === migration.phase;
  const missing = feed.some(isLast) ? [] : ["I7: the migration's last phase is not in the feed."];
  return [...missing, ...judgeFeed(feed, record.qmp)];
}
