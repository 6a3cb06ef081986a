import type { Qemu } from "./qemu.ts";

/** One copy of a guest's memory, in one QEMU. */
export interface GuestMemory {
  /** What the guest had lived through when this copy was up to date. */
  readonly generation: number;
  /** Whether all pages are here; in post-copy the rest is still at the source. */
  readonly pages: "all" | "some";
}

/**
 * A guest, whichever QEMU has it. Each start of CPUs makes all copies but that one stale, so a guest that runs twice,
 * or from an older state, shows.
 */
export class SimulatedGuest {
  readonly guestId: string;
  readonly macAddresses: readonly string[];
  readonly qemus: Qemu[] = [];
  /** Set when CPUs started from a stale copy. */
  wentBackwards: string | null = null;
  /** What the guest's owner was last granted; "either" while that is not known, or a stranger meddled. */
  wanted: "running" | "stopped" | "either" = "running";
  /** When a stranger last started or stopped its CPUs. Microseconds of the run. */
  meddledAtUs = Number.NEGATIVE_INFINITY;
  /** Told whenever CPUs start. */
  onResume: (qemu: Qemu) => void = () => {};
  /** Told whenever CPUs stop. */
  onStop: (qemu: Qemu) => void = () => {};
  /** Which fault took, or may have taken, the last that the guest could go on from; in words. */
  lostForCause: string | null = null;
  /** The generation that the guest has reached. */
  #newest = 0;
  /** All generations that there were, given-up ones too: none has the number of another. */
  #started = 0;

  constructor(guestId: string, macAddresses: readonly string[]) {
    this.guestId = guestId;
    this.macAddresses = macAddresses;
  }

  firstMemory(): GuestMemory {
    return { generation: this.#newest, pages: "all" };
  }

  resumed(qemu: Qemu): void {
    const { memory } = qemu;
    this.onResume(qemu);
    // What a stranger starts counts for nothing: its agent has to stop it.
    if (qemu.startedBy === "stranger") return;
    if (memory === null || memory.generation < this.#newest) {
      this.wentBackwards ??= `${qemu.parts.name} began to run generation ${memory?.generation} when the guest had reached ${this.#newest}.`;
    }
    this.#started += 1;
    this.#newest = this.#started;
    qemu.memory = { generation: this.#newest, pages: memory?.pages ?? "some" };
  }

  /** A QEMU dies by a fault: what is lost with it is lost for a cause. `may`: whether the guest was its own by then. */
  takeAway(qemu: Qemu, cause: string, may: "be its own" | "not be its own"): void {
    const couldGoOn = this.hasSurvivor();
    qemu.kill();
    if (may === "be its own" || (couldGoOn && !this.hasSurvivor())) this.lostForCause ??= cause;
  }

  /**
   * By the statement that its host is dead the newest state is given up, and the guest may go on from an older one. A VMM
   * that only now loads what was on its way to it has the newer one all the same, while nobody has gone on.
   */
  giveUpTheDead(): void {
    const generations = this.qemus.flatMap(({ isAlive, memory }) =>
      isAlive && memory !== null ? [memory.generation] : [],
    );
    this.#newest = Math.max(0, ...generations);
  }

  /** Whether there is a QEMU from which the guest could go on: its newest state, all of it, or all of it together. */
  hasSurvivor(): boolean {
    for (const qemu of this.qemus) if (this.#survivesIn(qemu)) return true;
    return false;
  }

  #survivesIn(qemu: Qemu): boolean {
    const { isAlive, memory } = qemu;
    return isAlive && memory !== null && memory.generation >= this.#newest && canGoOn(qemu, memory);
  }
}

/** In post-copy each end needs the other: QEMU has no way back for a source whose destination died. */
function canGoOn(qemu: Qemu, { pages }: GuestMemory): boolean {
  const { transfer } = qemu;
  if (transfer?.isTornApart() === true) return false;
  return pages === "all" || transfer?.source.isAlive === true;
}
