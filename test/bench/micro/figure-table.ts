import type { Figure } from "./figure.ts";

export const FIGURE_HEAD = ["figure", "unit", "p50", "p99", "max", "n"] as const;

export function figureCells({ count, max, name, p50, p99, unit }: Figure): readonly string[] {
  return [name, unit, ...[p50, p99, max, count].map((value) => (value === null ? "-" : String(value)))];
}
