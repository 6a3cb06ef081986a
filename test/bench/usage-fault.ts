import { SwitchoverError } from "../../proto/error.ts";

/** A wrong command line: exit code 2. */
export function usageFault(sentence: string): SwitchoverError {
  return new SwitchoverError("INVALID_ARGUMENT", sentence, { reason: "USAGE" });
}

export function wholeNumber(text: string, flag: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw usageFault(`${flag} must be a whole number from ${least} to ${most}.`);
}
