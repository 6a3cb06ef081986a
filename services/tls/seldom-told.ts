/** Different things that are counted at a time; what comes beyond is counted together. */
const KEYS_AT_MOST = 1_024;

/**
 * Says when something that may be repeated without end is to be told: the first time, and then each time that as many
 * more have come.
 */
export class SeldomTold {
  readonly #counts = new Map<string, number>();

  /** How often it has come where it is to be told now, else undefined. */
  count(key: string): number | undefined {
    const known = this.#counts.has(key) || this.#counts.size < KEYS_AT_MOST ? key : "";
    const count = (this.#counts.get(known) ?? 0) + 1;
    this.#counts.set(known, count);
    return Number.isInteger(Math.log2(count)) ? count : undefined;
  }
}
