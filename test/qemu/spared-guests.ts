import type { TestContext } from "node:test";
import { hasPanicked, lastWordsOf } from "../lab/guest-life.ts";
import type { ManagedGuest } from "../lab/managed/managed-guest.ts";
import { type ManagedLab, type ManagedLabOptions, openManagedLab } from "../lab/managed/managed-lab.ts";

export interface SparedLab {
  readonly managed: ManagedLab;
  /** The lab's guest, then its neighbour where there is one. */
  readonly guests: readonly ManagedGuest[];
}

/** The emulator loses writes of a migrating guest now and then, the more the busier the machine (see guest-init.ts). */
const PANICS_AT_MOST = 4;

/**
 * Guests that take nothing for Switchover's fault which the emulator did: where a guest's kernel panicked in a step, a
 * new lab is opened, guests boot where they stood before, and the step is taken again.
 */
export class SparedGuests {
  readonly #options: ManagedLabOptions;
  #lab: SparedLab;
  #panics = 0;

  private constructor(options: ManagedLabOptions, lab: SparedLab) {
    this.#options = options;
    this.#lab = lab;
  }

  /** Boots the lab's guest on the first of `hosts`, and its neighbour on the second where there is one. */
  static async boot(hosts: readonly string[], options: ManagedLabOptions = {}): Promise<SparedGuests> {
    return new SparedGuests(options, await bootAll(hosts, options));
  }

  get lab(): SparedLab {
    return this.#lab;
  }

  /** What `take` returns, or throws, with no guest's kernel panicked in it. */
  async step<Result>(
    context: Pick<TestContext, "diagnostic">,
    take: (lab: SparedLab) => Promise<Result>,
  ): Promise<Result> {
    for (;;) {
      const hosts = this.#lab.guests.map(({ current }) => current.host);
      const taken = await take(this.#lab).then(
        (value) => ({ ok: true, value }) as const,
        (thrown: unknown) => ({ ok: false, thrown }) as const,
      );
      const words = await this.#lastWordsOfPanicked();
      if (words.length > 0 && this.#panics < PANICS_AT_MOST) {
        this.#panics += 1;
        for (const said of words) context.diagnostic(`A guest panicked, and boots anew. ${said}`);
        await this.#lab.managed.close();
        this.#lab = await bootAll(hosts, this.#options);
        continue;
      }
      if (taken.ok) return taken.value;
      throw taken.thrown;
    }
  }

  close(): Promise<void> {
    return this.#lab.managed.close();
  }

  async #lastWordsOfPanicked(): Promise<readonly string[]> {
    const words = this.#lab.guests.map(async ({ current }) =>
      (await hasPanicked(current)) === "yes" ? [await lastWordsOf(current)] : [],
    );
    return (await Promise.all(words)).flat();
  }
}

async function bootAll(hosts: readonly string[], options: ManagedLabOptions): Promise<SparedLab> {
  const [first = "ha", second] = hosts;
  const managed = await openManagedLab(options);
  try {
    const guest = await managed.bootGuest(first);
    return {
      managed,
      guests: second === undefined ? [guest] : [guest, await managed.bootNeighbour(second)],
    };
  } catch (thrown) {
    await managed.close();
    throw thrown;
  }
}
