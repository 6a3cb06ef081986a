import type { Grinder } from "../engine/grain.ts";
import type { Random } from "../engine/random.ts";
import type { Timeline } from "../engine/timeline.ts";

const DELAY_US = { from: 40, to: 300 } as const;

/** What goes wrong with single messages of a link while it lasts. */
export interface LinkTrouble {
  /** The part of the messages that is lost, and of those that come twice. */
  readonly lost: number;
  readonly twice: number;
  /** Added to each message, a random part of it: what is sent later may arrive earlier. Microseconds. */
  readonly delayUs: number;
}

/** Somebody who wants to know of a link that is cut for long. */
interface CutWatch {
  readonly forUs: number;
  readonly fire: () => void;
  /** While it is cut. */
  cancel: (() => void) | null;
}

/** The control network between hosts, coordinators, NATS and the control plane, by name. */
export class SimulatedNetwork {
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #grinder: Grinder;
  /** Of each two ends, either way round. */
  readonly #links = new Map<string, Map<string, string>>();
  /** By link; how often it is cut at present. */
  readonly #cuts = new Map<string, number>();
  readonly #held = new Map<string, (() => void)[]>();
  readonly #cutWatches = new Map<string, Set<CutWatch>>();
  #trouble: LinkTrouble | null = null;

  constructor(timeline: Timeline, random: Random, grinder: Grinder) {
    this.#grinder = grinder;
    this.#timeline = timeline;
    this.#random = random;
  }

  /** Nothing crosses the link until `mend`, which has to be called as often. */
  cut(left: string, right: string): void {
    const link = this.#linkOf(left, right);
    this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
    for (const watch of this.#cutWatches.get(link) ?? []) this.#begin(watch);
  }

  mend(left: string, right: string): void {
    const link = this.#linkOf(left, right);
    const cuts = (this.#cuts.get(link) ?? 0) - 1;
    if (cuts > 0) {
      this.#cuts.set(link, cuts);
      return;
    }
    this.#cuts.delete(link);
    for (const watch of this.#cutWatches.get(link) ?? []) cease(watch);
    const held = this.#held.get(link) ?? [];
    this.#held.delete(link);
    for (const send of held) send();
  }

  /** Calls `fire` once where the link is cut for so long without a break; the returned function prevents that. */
  onceCutFor(forUs: number, left: string, right: string, fire: () => void): () => void {
    const link = this.#linkOf(left, right);
    const watches = this.#cutWatches.get(link) ?? new Set();
    this.#cutWatches.set(link, watches);
    const watch: CutWatch = { forUs, fire, cancel: null };
    watches.add(watch);
    if (this.#cuts.has(link)) this.#begin(watch);
    return () => {
      watches.delete(watch);
      cease(watch);
    };
  }

  /** All links are in trouble, until it is null. */
  troubleAll(trouble: LinkTrouble | null): void {
    this.#trouble = trouble;
  }

  /** All links work from now on. */
  heal(): void {
    this.#trouble = null;
    this.#cuts.clear();
    for (const watches of this.#cutWatches.values()) for (const watch of watches) cease(watch);
    const held = [...this.#held.values()].flat();
    this.#held.clear();
    for (const send of held) send();
  }

  /**
   * A message of a connection, which retransmits: over a cut link it arrives when that is mended. `lost` is called
   * instead where the connection breaks over it; both are where the message arrived and the connection broke then.
   * `laterUs`: how long its sender keeps it back. Microseconds.
   */
  send(from: string, to: string, arrive: () => void, lost: () => void, laterUs = 0): void {
    const link = this.#linkOf(from, to);
    const trouble = this.#trouble;
    if (trouble !== null) {
      if (this.#random.chance(trouble.lost)) {
        this.#after(trouble, lost, laterUs);
        if (this.#random.chance(0.5)) return;
      }
      if (this.#random.chance(trouble.twice)) this.#deliver(link, trouble, arrive, laterUs);
    }
    this.#deliver(link, trouble, arrive, laterUs);
  }

  /** What follows from a message that has just crossed the link, as its answer: may be there at once. Else as `send`. */
  sendOn(from: string, to: string, arrive: () => void, lost: () => void): void {
    if (this.#crossesAtOnce(from, to)) arrive();
    else this.send(from, to, arrive, lost);
  }

  /** As `sendOnce`, for what has just come and is only passed on: may be there at once. */
  passOn(from: string, to: string, arrive: () => void): void {
    if (this.#crossesAtOnce(from, to)) arrive();
    else this.sendOnce(from, to, arrive);
  }

  #crossesAtOnce(from: string, to: string): boolean {
    return this.#trouble === null && !this.#cuts.has(this.#linkOf(from, to)) && this.#grinder.joins();
  }

  /** A message that nobody sends again: over a cut link it is lost. */
  sendOnce(from: string, to: string, arrive: () => void): void {
    const link = this.#linkOf(from, to);
    if (this.#cuts.has(link)) return;
    const trouble = this.#trouble;
    if (trouble !== null) {
      if (this.#random.chance(trouble.lost)) return;
      if (this.#random.chance(trouble.twice)) this.#after(trouble, arrive);
    }
    this.#after(trouble, arrive);
  }

  #begin(watch: CutWatch): void {
    watch.cancel ??= this.#timeline.after(watch.forUs, watch.fire);
  }

  #deliver(link: string, trouble: LinkTrouble | null, arrive: () => void, laterUs = 0): void {
    if (!this.#cuts.has(link)) {
      this.#after(
        trouble,
        () => {
          // Cut while it was on its way.
          if (this.#cuts.has(link)) this.#deliver(link, null, arrive);
          else arrive();
        },
        laterUs,
      );
      return;
    }
    const held = this.#held.get(link) ?? [];
    held.push(() => this.#deliver(link, null, arrive));
    this.#held.set(link, held);
  }

  #after(trouble: LinkTrouble | null, work: () => void, laterUs = 0): void {
    const extraUs = trouble === null ? laterUs : laterUs + this.#random.below(trouble.delayUs + 1);
    this.#timeline.after(this.#random.between(DELAY_US.from, DELAY_US.to) + extraUs, work);
  }

  /** The name of the link; the same string each time. */
  #linkOf(left: string, right: string): string {
    let named = this.#links.get(left);
    if (named === undefined) {
      named = new Map();
      this.#links.set(left, named);
    }
    let link = named.get(right);
    if (link === undefined) {
      link = left < right ? `${left} ${right}` : `${right} ${left}`;
      named.set(right, link);
    }
    return link;
  }
}

function cease(watch: CutWatch): void {
  watch.cancel?.();
  watch.cancel = null;
}
