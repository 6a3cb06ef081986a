import { type Percentiles, percentilesOf } from "../percentiles.ts";

/** One thing that was measured many times. */
export interface Figure extends Percentiles {
  readonly name: string;
  readonly unit: "us" | "ms" | "MB";
  /** Another figure of the same run that this one is to be read beside. */
  readonly floor?: string;
}

/** A part of the micro benchmarks; it leaves nothing behind. */
export interface MicroPart {
  readonly name: string;
  readonly summary: string;
  measure(scale: MicroScale): Promise<readonly Figure[]>;
}

export interface MicroScale {
  /** Times that something quick is measured. */
  readonly repeats: number;
  /** Of the agent's host. */
  readonly nics: number;
}

export function figureOf(
  name: string,
  unit: Figure["unit"],
  values: readonly number[],
  floor?: string,
): Figure {
  return { name, unit, ...percentilesOf(values), ...(floor === undefined ? {} : { floor }) };
}
