import type { Clock } from "../clock.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import type { GracePeriods } from "../device/grace-periods.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { Guest } from "../guest/guest.ts";

/** The whole host pays while it lasts: a switchover that is armed for longer may take some milliseconds more. */
const LONGEST_HOLD_MS = 3_600_000;

/** Keeps the kernel's grace periods short while an armed source may have to take devices offline within the blackout. */
export class HastenedStop {
  readonly #gracePeriods: GracePeriods | undefined;
  readonly #clock: Clock;
  /** Null while the guest is not armed. */
  #end: (() => void) | null = null;

  constructor(gracePeriods: GracePeriods | undefined, clock: Clock) {
    this.#gracePeriods = gracePeriods;
    this.#clock = clock;
  }

  follow(guest: Guest, nics: readonly NicDefinition[]): void {
    if (guest.role.kind !== "outgoing") {
      this.end();
      return;
    }
    if (this.#end !== null || this.#gracePeriods === undefined) return;
    if (nics.every((nic) => deviceTypeOf(nic).stopping === "atOnce")) return;
    const release = this.#gracePeriods.hasten();
    const cancel = this.#clock.after(LONGEST_HOLD_MS, release);
    this.#end = () => {
      cancel();
      release();
    };
  }

  /** Idempotent. */
  end(): void {
    this.#end?.();
    this.#end = null;
  }
}
