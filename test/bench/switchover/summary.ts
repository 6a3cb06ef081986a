import {
  type AdjustedDifference,
  adjustedDifference,
  type CovariedDifference,
  type PairedDifference,
  pairedDifference,
} from "../paired-difference.ts";
import { type Percentiles, percentilesOf } from "../percentiles.ts";
import type { Measured } from "./measured.ts";
import { CONTENDERS, type Contender, DEVICES, MODES, NIC_COUNTS, type Row } from "./plan.ts";

/** One contender in one row. */
export interface RowSummary extends Row {
  readonly contender: Contender;
  /** Of which the blackout is known. */
  readonly n: number;
  /** Guests that the emulator killed; they count in nothing else. */
  readonly died: number;
  readonly blackout_ms: Percentiles;
  readonly stop_to_resume_ms: Percentiles;
  readonly added_ms: Percentiles;
  readonly stop_to_deregistered_us: Percentiles;
  readonly ready_to_cont_us: Percentiles;
  readonly duplicate_us: Percentiles;
  /** Of the pairs with the floor in the same round; null for the floor itself. */
  readonly over_floor: OverFloor | null;
}

export interface OverFloor {
  readonly blackout_ms: PairedDifference;
  /** Where QEMU's own time between STOP and ready is the same on both sides. */
  readonly blackout_at_equal_qemu_ms: AdjustedDifference;
  readonly stop_to_resume_ms: PairedDifference;
}

export interface SwitchoverSummary {
  readonly summary: "switchover";
  readonly seeds: readonly number[];
  readonly migrations: number;
  readonly rows: readonly RowSummary[];
}

/** Summarizes any number of runs; rounds of different seeds are different rounds. */
export function summarize(all: readonly Measured[]): SwitchoverSummary {
  const rows = DEVICES.flatMap((device) =>
    NIC_COUNTS.flatMap((nics) => MODES.map((mode): Row => ({ device, nics, mode }))),
  );
  return {
    summary: "switchover",
    seeds: [...new Set(all.map(({ seed }) => seed))],
    migrations: all.length,
    rows: rows.flatMap((row) => {
      const ofRow = all.filter((line) => isOf(line, row));
      const floor = floorOf(ofRow);
      return CONTENDERS.flatMap((contender) => {
        const lines = ofRow.filter((line) => line.contender === contender);
        return lines.length === 0 ? [] : [summaryOf(row, contender, lines, floor)];
      });
    }),
  };
}

/** The difference to the floor of each pair of which both are known. */
export function pairedWith(
  floor: ReadonlyMap<string, Measured>,
  lines: readonly Measured[],
  figure: (line: Measured) => number | null,
): readonly number[] {
  return lines.flatMap((line) => {
    const beside = floor.get(pairOf(line));
    const [own, its] = [figure(line), beside === undefined ? null : figure(beside)];
    return own === null || its === null ? [] : [own - its];
  });
}

function covariedWith(
  floor: ReadonlyMap<string, Measured>,
  lines: readonly Measured[],
): readonly CovariedDifference[] {
  return lines.flatMap((line) => {
    const [difference] = pairedWith(floor, [line], ({ blackout_ms: blackout }) => blackout);
    const [covariate] = pairedWith(floor, [line], ({ qemu_ms: qemu }) => qemu);
    return difference === undefined || covariate === undefined ? [] : [{ difference, covariate }];
  });
}

/** What others are compared with, by pair. */
export function floorOf(
  lines: readonly Measured[],
  contender: Contender = "bare",
): ReadonlyMap<string, Measured> {
  const floor = lines.filter((line) => line.contender === contender && line.guest_alive);
  return new Map(floor.map((line) => [pairOf(line), line]));
}

function pairOf({ device, mode, nics, round, seed }: Measured): string {
  return `${seed} ${round} ${device} ${nics} ${mode}`;
}

function isOf(line: Measured, row: Row): boolean {
  return line.device === row.device && line.nics === row.nics && line.mode === row.mode;
}

function summaryOf(
  row: Row,
  contender: Contender,
  lines: readonly Measured[],
  floor: ReadonlyMap<string, Measured>,
): RowSummary {
  const alive = lines.filter((line) => line.guest_alive);
  const all = (figure: (line: Measured) => number | null): Percentiles =>
    percentilesOf(alive.flatMap((line) => figure(line) ?? []));
  const over = (figure: (line: Measured) => number | null): PairedDifference =>
    pairedDifference(pairedWith(floor, alive, figure));
  return {
    ...row,
    contender,
    n: alive.filter((line) => line.blackout_ms !== null).length,
    died: lines.length - alive.length,
    blackout_ms: all((line) => line.blackout_ms),
    stop_to_resume_ms: all((line) => line.stop_to_resume_ms),
    added_ms: all((line) => line.added_ms),
    stop_to_deregistered_us: all((line) => line.stop_to_deregistered_us),
    ready_to_cont_us: all((line) => line.ready_to_cont_us),
    duplicate_us: all((line) => line.duplicate_us),
    over_floor:
      contender === "bare"
        ? null
        : {
            blackout_ms: over((line) => line.blackout_ms),
            blackout_at_equal_qemu_ms: adjustedDifference(covariedWith(floor, alive)),
            stop_to_resume_ms: over((line) => line.stop_to_resume_ms),
          },
  };
}
