import type { DetailInstant, DetailNic, Lane, MigrationDetail } from "./wire.ts";

/**
 * Where everything stands in the drawing of one switchover, to scale. Pure: microseconds from STOP in, a plan out.
 *
 *   CPUs    source       ██████████|
 *           destination              ░░░░░░░░░░░|██████
 *   eth0    source       ████████████|
 *           destination                    |███████████
 */
export interface Bar {
  readonly fromUs: number;
  readonly toUs: number;
}

export interface LanePlan {
  readonly lane: Lane;
  readonly host: string;
  /** When the CPUs run there, or the NIC is registered there; null: never, as far as is known. */
  readonly bar: Bar | null;
}

export interface GroupPlan {
  readonly title: string;
  readonly of: "cpus" | "nic";
  readonly lanes: readonly [LanePlan, LanePlan];
  /** Registered on neither host, or on both. */
  readonly gap: (Bar & { readonly kind: "neither" | "both" }) | null;
}

export interface MarkPlan {
  readonly number: number;
  readonly instant: DetailInstant;
}

export interface TimelinePlan {
  readonly fromUs: number;
  readonly toUs: number;
  /** Of the axis, in microseconds. */
  readonly ticksUs: readonly number[];
  readonly blackout: Bar | null;
  readonly groups: readonly GroupPlan[];
  /** Those within the drawing; the last announcements come long after it. */
  readonly marks: readonly MarkPlan[];
}

/** Before the first instant of the switchover and after its last, as a part of what lies between. */
const MARGIN_BEFORE = 0.08;
const MARGIN_AFTER = 0.25;
/** What a switchover has behind it already: it is drawn where it comes soon, and stretches nothing. */
const AFTERMATH: ReadonlySet<string> = new Set(["ANNOUNCED", "FIRST_FRAME"]);
const LEAST_SPAN_US = 100;
const TICKS_ABOUT = 8;
const ALL_NICS: readonly DetailNic[] = [{ id: "all NICs", mac: "" }];

/** Null where no switchover took place. */
export function planTimeline({ instants, nics, row }: MigrationDetail): TimelinePlan | null {
  const own = instants.filter(({ kind }) => !AFTERMATH.has(kind));
  const times = (own.length > 0 ? own : instants).map(({ atUs }) => atUs);
  if (times.length === 0) return null;
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const spanUs = Math.max(LEAST_SPAN_US, last - first);
  const [fromUs, toUs] = [first - spanUs * MARGIN_BEFORE, last + spanUs * MARGIN_AFTER];
  const at = (kind: string): number | undefined => instants.find((instant) => instant.kind === kind)?.atUs;
  const lanes = (endsAt: string, beginsAt: string): readonly [LanePlan, LanePlan] => {
    const begin = at(beginsAt);
    return [
      { lane: "source", host: row.from, bar: { fromUs, toUs: at(endsAt) ?? toUs } },
      { lane: "destination", host: row.to, bar: begin === undefined ? null : { fromUs: begin, toUs } },
    ];
  };
  const [stopped, resumed] = [at("STOPPED"), at("RESUMED")];
  return {
    fromUs,
    toUs,
    ticksUs: ticksBetween(fromUs, toUs),
    blackout: stopped === undefined || resumed === undefined ? null : { fromUs: stopped, toUs: resumed },
    groups: [
      { title: "CPUs", of: "cpus", lanes: lanes("STOPPED", "RESUMED"), gap: null },
      ...(nics.length === 0 ? ALL_NICS : nics).map(
        (nic): GroupPlan => ({
          title: nic.mac === "" ? nic.id : `${nic.id} ${nic.mac}`,
          of: "nic",
          lanes: lanes("DEREGISTERED", "REGISTERED"),
          gap: gapBetween(at("DEREGISTERED"), at("REGISTERED")),
        }),
      ),
    ],
    marks: instants
      .map((instant, index) => ({ number: index + 1, instant }))
      .filter(({ instant }) => instant.atUs <= toUs),
  };
}

function gapBetween(left: number | undefined, right: number | undefined): GroupPlan["gap"] {
  if (left === undefined || right === undefined || left === right) return null;
  return left < right
    ? { kind: "neither", fromUs: left, toUs: right }
    : { kind: "both", fromUs: right, toUs: left };
}

/** Round numbers: 1, 2 or 5 of some power of ten apart. */
function ticksBetween(fromUs: number, toUs: number): readonly number[] {
  const rough = (toUs - fromUs) / TICKS_ABOUT;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
  const first = Math.ceil(fromUs / step);
  const count = Math.floor(toUs / step) - first + 1;
  return Array.from({ length: count }, (_, index) => (first + index) * step);
}
