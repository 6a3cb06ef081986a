import type { Random } from "./random.ts";

/** How finely a run is cut into steps. */
export type Grain = "fine" | "coarse";

/** In a coarse run this part of what may follow at once does. */
const JOINED = 0.85;

/**
 * Decides what is a step of its own. In a fine run everything is that can be one. In a coarse run most of what only
 * follows from a step, as an answer from its request, happens in that step too: such a run takes fewer steps, and
 * explores as many moments as it has steps left.
 */
export class Grinder {
  readonly #grain: Grain;
  readonly #random: Random;

  constructor(grain: Grain, random: Random) {
    this.#grain = grain;
    this.#random = random;
  }

  /** Whether what may follow at once does. */
  joins(): boolean {
    return this.#grain === "coarse" && this.#random.chance(JOINED);
  }

  /** How long something is kept back: `leastUs`, in a coarse run up to `mostUs`, so that more comes together. */
  delayUs(leastUs: number, mostUs: number): number {
    return this.#grain === "coarse" ? this.#random.between(leastUs, mostUs) : leastUs;
  }
}
