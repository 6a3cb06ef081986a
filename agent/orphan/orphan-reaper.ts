import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { keyOf, type Orphans } from "./orphans.ts";

export interface OrphanReaperParts {
  readonly orphans: Pick<Orphans, "list" | "remove">;
  readonly afterMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

const LONGEST_PAUSE_MS = 60_000;
const LOOKS = 4;

/**
 * Removes what was seen as an orphan at every look for `afterMs`. What becomes a guest's meanwhile, if only once, is
 * counted anew.
 */
export class OrphanReaper {
  readonly #parts: OrphanReaperParts;
  readonly #pauseMs: number;
  /** How long each has been seen. */
  #seenForMs = new Map<string, number>();
  #cancel: () => void = () => {};
  #state: "open" | "closed" = "open";

  constructor(parts: OrphanReaperParts) {
    this.#parts = parts;
    this.#pauseMs = Math.min(Math.max(Math.ceil(parts.afterMs / LOOKS), 1), LONGEST_PAUSE_MS);
    void this.#look(0);
  }

  /** Idempotent. */
  close(): void {
    this.#state = "closed";
    this.#cancel();
  }

  async #look(sinceLastMs: number): Promise<void> {
    const { orphans, afterMs, clock, log } = this.#parts;
    try {
      const found = await orphans.list();
      this.#seenForMs = new Map(
        found.map((orphan) => {
          const before = this.#seenForMs.get(keyOf(orphan));
          return [keyOf(orphan), before === undefined ? 0 : before + sinceLastMs];
        }),
      );
      const due = found.filter(
        (orphan) => orphan.use === "free" && (this.#seenForMs.get(keyOf(orphan)) ?? 0) >= afterMs,
      );
      await orphans.remove(due);
    } catch (thrown) {
      const { message, reason } = SwitchoverError.from(thrown);
      log.warn({ reason }, `Orphans could not be looked for: ${message}`);
    }
    if (this.#state === "closed") return;
    this.#cancel = clock.after(this.#pauseMs, () => void this.#look(this.#pauseMs));
  }
}
