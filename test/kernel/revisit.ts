import assert from "node:assert/strict";
import { Random } from "../simulation/engine/random.ts";

/** A state of the host, and the way there from any other. */
export interface HostState {
  readonly name: string;
  readonly reach: () => void | Promise<void>;
  /** What the kernel shows then, one of them; missing where that depends on the state before. */
  readonly wanted?: string | readonly string[];
}

export interface Visits {
  readonly steps: number;
  readonly pairs: number;
}

/** More than a walk needs that takes a way it has not taken whenever there is one. */
const MAX_STEPS_PER_PAIR = 4;

/**
 * Reaches the states in order, then by a random walk that the seed decides until each was reached from each, itself
 * included; compares what `read` shows each time. Throws naming both states and the seed.
 */
export async function revisit(
  states: readonly HostState[],
  read: () => string,
  seed: number,
): Promise<Visits> {
  const random = new Random(seed);
  const unvisited = new Map(states.map((from) => [from, new Set(states)]));
  let at: HostState | undefined;
  let steps = 0;
  const goTo = async (state: HostState): Promise<void> => {
    const way = `${at?.name ?? "at first"} -> ${state.name} (step ${steps}, seed ${seed})`;
    steps += 1;
    try {
      await state.reach();
    } catch (thrown) {
      throw new Error(way, { cause: thrown });
    }
    const shown = read();
    if (state.wanted !== undefined) {
      const wanted = typeof state.wanted === "string" ? [state.wanted] : state.wanted;
      if (!wanted.includes(shown)) assert.equal(shown, wanted[0], `${way}:\n${shown}\nis not\n${wanted[0]}`);
    }
    if (at !== undefined) unvisited.get(at)?.delete(state);
    at = state;
  };

  for (const state of states) await goTo(state);
  const pairs = states.length ** 2;
  for (;;) {
    const open = states.filter((state) => (unvisited.get(state)?.size ?? 0) > 0);
    const [first, ...others] = open;
    if (first === undefined) return { steps, pairs };
    assert.ok(steps < pairs * MAX_STEPS_PER_PAIR, `The walk does not end (seed ${seed}).`);
    const [next, ...further] = at === undefined ? [] : (unvisited.get(at) ?? []);
    await goTo(next === undefined ? random.pick(first, ...others) : random.pick(next, ...further));
  }
}
