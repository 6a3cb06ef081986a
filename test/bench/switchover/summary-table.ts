import type { Estimate, PairedDifference } from "../paired-difference.ts";
import type { RowSummary } from "./summary.ts";

export const SUMMARY_HEAD = [
  "row",
  "contender",
  "n",
  "blackout ms p50 / p99",
  "over the floor, mean [95 %]",
  "median [95 %]",
  "at QEMU's equal time [95 %]",
  "added ms p50 / p99",
] as const;

export function summaryCells(row: RowSummary): readonly string[] {
  const { added_ms: added, blackout_ms: blackout, over_floor: over } = row;
  const pair = (difference: PairedDifference | undefined) => [
    interval(difference?.mean),
    interval(difference?.median),
  ];
  return [
    `${row.device}, ${row.nics} NIC${row.nics === 1 ? "" : "s"}, ${row.mode}`,
    row.contender,
    row.died === 0 ? String(row.n) : `${row.n} (${row.died} died)`,
    `${figure(blackout.p50)} / ${figure(blackout.p99)}`,
    ...pair(over?.blackout_ms),
    interval(over?.blackout_at_equal_qemu_ms.at_equal_covariate),
    added.count === 0 ? "" : `${figure(added.p50)} / ${figure(added.p99)}`,
  ];
}

function interval(estimate: Estimate | null | undefined): string {
  if (estimate === undefined) return "";
  if (estimate === null) return "too few";
  return `${signed(estimate.value)} [${signed(estimate.low)}, ${signed(estimate.high)}]`;
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${figure(Math.abs(value))}`;
}

function figure(value: number | null): string {
  return value === null ? "-" : value.toFixed(2);
}
