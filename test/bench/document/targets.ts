import type { Figure } from "../micro/figure.ts";
import type { MicroResult } from "../micro/micro.ts";
import { pairsForUnitWidth } from "../paired-difference.ts";
import type { ScaleResult } from "../scale-run.ts";
import type { RowSummary, SwitchoverSummary } from "../switchover/summary.ts";

/** All that was measured; what was not is missing. */
export interface Measurements {
  readonly switchover: SwitchoverSummary;
  readonly micro: readonly MicroResult[];
  readonly scale: readonly ScaleResult[];
}

/** One of the design's numbers to reach, and what was seen. */
export interface Target {
  readonly what: string;
  readonly wanted: string;
  readonly seen: string;
  readonly verdict: "met" | "not met" | "not measured here";
}

/** The numbers of the design, in its order. Of several rows the worst one counts. */
export function judgeTargets({ micro, scale, switchover }: Measurements): readonly Target[] {
  const rows = switchover.rows.filter(({ contender, n }) => contender === "switchover" && n > 0);
  const eight = rows.filter(({ nics }) => nics === 8);
  const figures = micro.flatMap((result) => result.figures);
  const worst = (of: readonly RowSummary[], figure: (row: RowSummary) => number | null) =>
    Math.max(...of.flatMap((row) => figure(row) ?? []));
  const deregisteredUs = worst(eight, (row) => row.stop_to_deregistered_us.p99);
  const contUs = {
    p50: worst(eight, (row) => row.ready_to_cont_us.p50),
    p99: worst(eight, (row) => row.ready_to_cont_us.p99),
  };
  const addedMs = worst(rows, (row) => row.added_ms.p50);
  const duplicates = rows.flatMap((row) => (row.duplicate_us.count === 0 ? [] : [row.duplicate_us]));
  const duplicateUs = Math.max(...duplicates.map(({ max }) => max ?? 0));
  const witnessed = duplicates.reduce((sum, { count }) => sum + count, 0);
  const entryUs = figureNamed(figures, "agent, an entry of 64 in one send")?.p50 ?? Number.NaN;
  const forkUs = figureNamed(figures, "forked bridge")?.p50 ?? Number.NaN;
  const restartMs =
    figures.find(({ name }) => name.startsWith("start of an agent") && name.includes("lost"))?.max ??
    Number.NaN;
  const lagMs = Math.max(...scale.map((result) => result.phase_lag_ms.p99 ?? Number.NaN));
  return [
    {
      what: "source: STOP received -> all NICs deregistered (8 NICs)",
      wanted: "p99 <= 2 ms",
      ...judged(deregisteredUs, `p99 ${ms(deregisteredUs)} in the worst row`, deregisteredUs <= 2_000),
    },
    {
      what: "destination: ready and handed off -> `cont` sent (8 NICs)",
      wanted: "p50 <= 1 ms, p99 <= 3 ms",
      ...judged(
        contUs.p50,
        `p50 ${ms(contUs.p50)}, p99 ${ms(contUs.p99)} in the worst row`,
        contUs.p50 <= 1_000 && contUs.p99 <= 3_000,
      ),
    },
    {
      what: "added, by events: RESUME - max(ready, hand-off possible)",
      wanted: "p50 <= 1 ms",
      ...judged(addedMs, `p50 ${addedMs.toFixed(2)} ms in the worst row`, addedMs <= 1),
    },
    blackoutTarget(rows, "tap"),
    blackoutTarget(rows, "macvtap"),
    {
      what: "MAC on two instances at once",
      wanted: "0, in every run",
      ...judged(duplicateUs, `${duplicateUs} us in ${witnessed} witnessed migrations`, duplicateUs === 0),
    },
    {
      what: "FDB operation, batched, from Node",
      wanted: "<= 5 us",
      ...judged(entryUs, `p50 ${entryUs} us (a fork of \`bridge\`: ${forkUs} us)`, entryUs <= 5),
    },
    {
      what: "rollback: failure event -> source registered",
      wanted: "p99 <= 5 ms",
      ...judged(Number.NaN, "", false),
    },
    {
      what: "agent restart with 10,000 NICs: reconciled",
      wanted: "<= 1 s",
      ...judged(
        restartMs,
        `worst of five ${Math.round(restartMs)} ms, every entry lost meanwhile`,
        restartMs <= 1_000,
      ),
    },
    {
      what: "coordinator: 1,000 concurrent migrations, 10,000 simulated hosts",
      wanted: "phase lag p99 <= 20 ms",
      ...judged(lagMs, `p99 ${lagMs} ms`, lagMs <= 20),
    },
  ];
}

/** By the means' intervals: the raw ones, and the one where QEMU's own time is the same on both sides. */
function blackoutTarget(rows: readonly RowSummary[], device: RowSummary["device"]): Target {
  const intervals = rows.flatMap(({ device: of, over_floor: over }) =>
    of === device && over !== null ? [over] : [],
  );
  const ends = (figure: (over: NonNullable<RowSummary["over_floor"]>) => number | undefined) =>
    intervals.flatMap((over) => figure(over) ?? []);
  const raw = ends((over) => over.blackout_ms.mean?.high);
  const median = ends((over) => over.blackout_ms.median?.high);
  const atEqual = ends((over) => over.blackout_at_equal_qemu_ms.at_equal_covariate?.high);
  const below = (values: readonly number[]) =>
    `${values.filter((high) => high < 1).length} of ${values.length} rows`;
  const needed = Math.max(...intervals.flatMap((over) => pairsForUnitWidth(over.blackout_ms) ?? []));
  const seen = `ends below 1 ms in ${below(raw)} (mean), ${below(median)} (median), ${below(atEqual)} (at QEMU's equal time); an interval of 1 ms would need ${needed} pairs`;
  return {
    what: `blackout seen by a peer, paired with bare QEMU, ${device}`,
    wanted: "95 % interval of the difference ends below 1 ms",
    ...judged(raw[0] ?? Number.NaN, seen, raw.length > 0 && raw.every((high) => high < 1)),
  };
}

function judged(value: number, seen: string, isMet: boolean): Pick<Target, "seen" | "verdict"> {
  if (!Number.isFinite(value)) return { seen: "", verdict: "not measured here" };
  return { seen, verdict: isMet ? "met" : "not met" };
}

function figureNamed(figures: readonly Figure[], name: string): Figure | undefined {
  return figures.find((figure) => figure.name === name);
}

function ms(us: number): string {
  return `${(us / 1000).toFixed(2)} ms`;
}
