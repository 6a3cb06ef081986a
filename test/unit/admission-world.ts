import type { AdmissionLimits } from "../../coordinator/admission/admission-limits.ts";
import type { SlotStore, StoredSlot } from "../../coordinator/admission/slot-store.ts";
import type { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import type { GuestId } from "../../proto/ids.ts";
import { broken } from "./coordinator-world.ts";

export const TIGHT: AdmissionLimits = { perSource: 2, perDestination: 2, inAll: 3, queued: 100 };

/**
 * A KV bucket of slots as JetStream has it: one value a key, revisions over all keys. Each watch lags as far behind as it
 * is left to; what was overwritten meanwhile it never brings.
 */
export class SlotBucket {
  readonly #values = new Map<string, StoredSlot>();
  readonly #watches = new Set<LaggingWatch>();
  #revision = 0;
  /** Taken by the next writes, in order: "lost" was not written, "unknown" was, and nobody heard of it. */
  readonly failures: ("lost" | "unknown" | "none")[] = [];

  get values(): readonly StoredSlot[] {
    return [...this.#values.values()];
  }

  /** As one coordinator sees it; `dead` ends all that it does. */
  storeOf(dead: AbortSignal): SlotStore & { readonly watches: readonly LaggingWatch[] } {
    const watches: LaggingWatch[] = [];
    return {
      watches,
      get: async (guestId: GuestId) => this.#values.get(guestId) ?? null,
      write: async (slot, expectedRevision) => this.#write(slot, expectedRevision, dead),
      watch: (_signal, onCurrent) => {
        const watch = new LaggingWatch(this.#values, onCurrent);
        this.#watches.add(watch);
        watches.push(watch);
        return watch.values(dead);
      },
    };
  }

  /** The store comes back without its last writes. */
  lose(guestId: string): void {
    this.#values.delete(guestId);
  }

  #write(slot: AdmissionSlot, expectedRevision: number, dead: AbortSignal): StoredSlot {
    if (dead.aborted) throw broken("UNAVAILABLE", "DEAD");
    const failure = this.failures.shift() ?? "none";
    if (failure === "lost") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
    if ((this.#values.get(slot.guestId)?.revision ?? 0) !== expectedRevision)
      throw broken("ABORTED", "REVISION_CONFLICT");
    this.#revision += 1;
    const stored = { slot, revision: this.#revision };
    this.#values.set(slot.guestId, stored);
    for (const watch of this.#watches) watch.advance(0);
    if (failure === "unknown") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
    return stored;
  }
}

/** Brings one value each time that it is let. */
export class LaggingWatch {
  readonly #values: ReadonlyMap<string, StoredSlot>;
  readonly #onCurrent: () => void;
  #seen = 0;
  #wake: () => void = () => undefined;
  #steps = 0;

  constructor(values: ReadonlyMap<string, StoredSlot>, onCurrent: () => void) {
    this.#values = values;
    this.#onCurrent = onCurrent;
  }

  /** Lets it bring so many values more. */
  advance(steps: number): void {
    this.#steps += steps;
    this.#wake();
  }

  async *values(dead: AbortSignal): AsyncGenerator<StoredSlot, void, undefined> {
    dead.addEventListener("abort", () => this.#wake());
    while (!dead.aborted) {
      const next = [...this.#values.values()]
        .filter(({ revision }) => revision > this.#seen)
        .sort((left, right) => left.revision - right.revision)[0];
      if (next === undefined) this.#onCurrent();
      if (next === undefined || this.#steps === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      this.#steps -= 1;
      this.#seen = next.revision;
      yield next;
    }
  }
}
