import type { Clock } from "../clock.ts";

/** When the guest's addresses are announced after RESUME; QEMU's own frames leave with RESUME itself. Milliseconds. */
const ANNOUNCE_AFTER_MS = [0, 50, 150, 350, 750] as const;

/** The announcements of one start of the CPUs: a later start begins anew, a stop ends them. */
export class Announcements {
  readonly #clock: Clock;
  readonly #announce: (round: number) => void;
  #cancels: (() => void)[] = [];

  /** `announce` is called with the round, from 1. */
  constructor(clock: Clock, announce: (round: number) => void) {
    this.#clock = clock;
    this.#announce = announce;
  }

  /** The first round within this call. */
  begin(): void {
    this.end();
    for (const [index, delayMs] of ANNOUNCE_AFTER_MS.entries()) {
      if (delayMs > 0) this.#cancels.push(this.#clock.after(delayMs, () => this.#announce(index + 1)));
    }
    this.#announce(1);
  }

  end(): void {
    for (const cancel of this.#cancels.splice(0)) cancel();
  }
}
