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

/** The control network between hosts, coordinators, NATS and the control plane, by name. */
export class SimulatedNetwork {
  readonly #timeline: Timeline;
  readonly #random: Random;
  /** By link; how often it is cut at present. */
  readonly #cuts = new Map<string, number>();
  readonly #held = new Map<string, (() => void)[]>();
  #trouble: LinkTrouble | null = null;

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline;
    this.#random = random;
  }

  /** Nothing crosses the link until `mend`, which has to be called as often. */
  cut(left: string, right: string): void {
    const link = linkOf(left, right);
    this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
  }

  mend(left: string, right: string): void {
    const link = linkOf(left, right);
    const cuts = (this.#cuts.get(link) ?? 0) - 1;
    if (cuts > 0) {
      this.#cuts.set(link, cuts);
      return;
    }
    this.#cuts.delete(link);
    const held = this.#held.get(link) ?? [];
    this.#held.delete(link);
    for (const send of held) send();
  }

  isCut(left: string, right: string): boolean {
    return this.#cuts.has(linkOf(left, right));
  }

  /** All links are in trouble, until it is null. */
  troubleAll(trouble: LinkTrouble | null): void {
    this.#trouble = trouble;
  }

  /** All links work from now on. */
  heal(): void {
    this.#trouble = null;
    this.#cuts.clear();
    const held = [...this.#held.values()].flat();
    this.#held.clear();
    for (const send of held) send();
  }

  /**
   * A message of a connection, which retransmits: over a cut link it arrives when that is mended. `lost` is called
   * instead where the connection breaks over it; both are where the message arrived and the connection broke then.
   */
  send(from: string, to: string, arrive: () => void, lost: () => void): void {
    const link = linkOf(from, to);
    const trouble = this.#trouble;
    if (trouble !== null) {
      if (this.#random.chance(trouble.lost)) {
        this.#after(trouble, lost);
        if (this.#random.chance(0.5)) return;
      }
      if (this.#random.chance(trouble.twice)) this.#deliver(link, trouble, arrive);
    }
    this.#deliver(link, trouble, arrive);
  }

  /** A message that nobody sends again: over a cut link it is lost. */
  sendOnce(from: string, to: string, arrive: () => void): void {
    const link = linkOf(from, to);
    if (this.#cuts.has(link)) return;
    const trouble = this.#trouble;
    if (trouble !== null) {
      if (this.#random.chance(trouble.lost)) return;
      if (this.#random.chance(trouble.twice)) this.#after(trouble, arrive);
    }
    this.#after(trouble, arrive);
  }

  #deliver(link: string, trouble: LinkTrouble | null, arrive: () => void): void {
    if (!this.#cuts.has(link)) {
      this.#after(trouble, () => {
        // Cut while it was on its way.
        if (this.#cuts.has(link)) this.#deliver(link, null, arrive);
        else arrive();
      });
      return;
    }
    const held = this.#held.get(link) ?? [];
    held.push(() => this.#deliver(link, null, arrive));
    this.#held.set(link, held);
  }

  #after(trouble: LinkTrouble | null, work: () => void): void {
    const extraUs = trouble === null ? 0 : this.#random.below(trouble.delayUs + 1);
    this.#timeline.after(this.#random.between(DELAY_US.from, DELAY_US.to) + extraUs, work);
  }
}

function linkOf(left: string, right: string): string {
  return left < right ? `${left} ${right}` : `${right} ${left}`;
}
