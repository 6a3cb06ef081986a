import assert from "node:assert/strict";
import { Random } from "../simulation/engine/random.ts";

/** A state of the host, and the way there from any other. */
export interface HostState {
  readonly name: string;
  readonly reach: () => void | Promise<void>;
  /** What the kernel shows once it is reached, one of them. */
  readonly wanted: () => readonly string[];
}

export interface Visits {
  readonly steps: number;
  readonly pairs: number;
}

/** More than a walk needs that takes a way it has not taken whenever there is one. */
const MAX_STEPS_PER_PAIR = 4;

/**
 * Reaches the first state, and then the others by a random walk that the seed decides until each was reached from each, itself
 * included, where `isWay` has it so; compares what `read` shows each time. Throws naming both states and the seed.
 */
export async function revisit(
  states: readonly HostState[],
  read: () => string,
  seed: number,
  isWay: (from: HostState, to: HostState) => boolean = () => true,
): Promise<Visits> {
  const random = new Random(seed);
  const unvisited = new Map(states.map((from) => [from, new Set(states.filter((to) => isWay(from, to)))]));
  const pairs = [...unvisited.values()].reduce((sum, { size }) => sum + size, 0);
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
    const wanted = state.wanted();
    if (!wanted.includes(shown)) assert.equal(shown, wanted[0], `${way}:\n${shown}\nis not\n${wanted[0]}`);
    if (at !== undefined) unvisited.get(at)?.delete(state);
    at = state;
  };

  const [first] = states;
  if (first !== undefined) await goTo(first);
  for (;;) {
    const open = states.filter((state) => (unvisited.get(state)?.size ?? 0) > 0);
    if (open.length === 0) return { steps, pairs };
    assert.ok(steps < pairs * MAX_STEPS_PER_PAIR, `The walk does not end (seed ${seed}).`);
    const here = at;
    const next = here === undefined ? [] : [...(unvisited.get(here) ?? [])];
    const back = here === undefined ? open : open.filter((state) => isWay(here, state));
    const [way, ...others] = next.length > 0 ? next : back.length > 0 ? back : states;
    if (way === undefined) throw new Error("There is nowhere to go.");
    await goTo(random.pick(way, ...others));
  }
}
