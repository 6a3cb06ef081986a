import type { HostClock } from "../../services/clock/host-clock.ts";
import type { Random } from "../simulation/engine/random.ts";
import { EPOCH_UNIX_US, Timeline } from "../simulation/engine/timeline.ts";

/** What is due within so long happens at once: Node's timers are no finer. */
const EARLY_US = 500;

/**
 * The simulated world's timeline on the clock of this host: models of the simulation do here in real time what they do
 * there in virtual time, in the same order. Half a millisecond early at most; as late as this process is busy.
 */
export class WallTimeline extends Timeline {
  readonly #clock: HostClock;
  readonly #ticks = new Set<number>();

  constructor(clock: HostClock, random: Random) {
    super(random);
    this.#clock = clock;
    this.step(this.nowUs);
  }

  override get nowUs(): number {
    return this.#clock.unixUs() - EPOCH_UNIX_US;
  }

  override after(delayUs: number, fire: () => void): () => void {
    const { nowUs } = this;
    const dueUs = nowUs + Math.max(0, delayUs);
    const cancel = super.after(dueUs - super.nowUs, fire);
    this.#wakeAt(dueUs - nowUs < EARLY_US ? 0 : Math.ceil(dueUs / 1_000));
    return cancel;
  }

  /** Milliseconds of the run; 0: in the next turn of the event loop. One wake serves all that is due by then. */
  #wakeAt(tick: number): void {
    if (this.#ticks.has(tick)) return;
    this.#ticks.add(tick);
    const wake = (): void => {
      this.#ticks.delete(tick);
      const { nowUs } = this;
      while (this.step(nowUs + EARLY_US) === "happened");
      // Node counts from the start of its loop's turn, so that a timer may come up to a millisecond early.
      if (nowUs + EARLY_US < tick * 1_000) this.#wakeAt(tick);
    };
    const delayMs = tick - this.nowUs / 1_000;
    if (tick === 0 || delayMs < 1) setImmediate(wake);
    else setTimeout(wake, delayMs);
  }
}
