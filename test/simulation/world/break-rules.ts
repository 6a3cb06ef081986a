import { type Breakage, UNBROKEN } from "./breakage.ts";

/** The rules that can be broken, to show that the simulation finds it. */
export const BREAK_RULES = [
  "epoch-check",
  "revision-check",
  "hand-off-wait",
  "ready-check",
  "journal-before-word",
  "hand-back-after-cont",
  "cancel-order",
  "paused-guest",
  "guard",
  "replace",
  "sticky",
  "source-deregister",
] as const;
export type BreakRule = (typeof BREAK_RULES)[number];

export function breakageOf(rule: BreakRule | undefined): Breakage {
  if (rule === undefined) return UNBROKEN;
  return UNBROKEN;
}
