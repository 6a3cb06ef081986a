/** Why a migration fails or waits; both empty when nothing is wrong. */
export interface Reason {
  /** UPPER_SNAKE_CASE. */
  readonly code: string;
  readonly sentence: string;
}

export const NOTHING_WRONG: Reason = { code: "", sentence: "" };
