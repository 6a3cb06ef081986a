import type { SpooledEvent } from "./spooled-event.ts";

/** Whose numbering is remembered; one that is forgotten begins anew, and the stream shows where it was. */
const TOPICS_KEPT = 4_096;

/** What was said under one subject. */
export interface Topic {
  readonly subject: string;
  /** Who gives its numbers: grows with each one that takes the subject up. */
  origin: bigint;
  /** The last number given. */
  last: bigint;
  /** The stream is known to hold all up to here. */
  stored: bigint;
  /** What is kept, ascending. */
  events: SpooledEvent[];
  /** How many of them are unsent, and an index before which none is. */
  unsent: number;
  firstUnsent: number;
}

/** The spool's index. Bounded: the topic longest unused, with nothing unsent, makes room. */
export class SpoolTopics {
  readonly #unixUs: () => number;
  readonly #topics = new Map<string, Topic>();
  #newestOrigin = 0n;

  constructor(unixUs: () => number) {
    this.#unixUs = unixUs;
  }

  all(): readonly Topic[] {
    return [...this.#topics.values()];
  }

  find(subject: string): Topic | undefined {
    return this.#topics.get(subject);
  }

  /** The topic, as the one used last; made where it is new. */
  take(subject: string): Topic {
    const known = this.#topics.get(subject);
    if (known === undefined) {
      const topic = this.#begin(subject);
      topic.origin = this.#newOrigin();
      this.#forgetOldest();
      return topic;
    }
    this.#topics.delete(subject);
    this.#topics.set(subject, known);
    return known;
  }

  /** Takes in what a predecessor said, in order. */
  recover(event: SpooledEvent): void {
    if (event.origin > this.#newestOrigin) this.#newestOrigin = event.origin;
    const topic = this.#topics.get(event.subject) ?? this.#begin(event.subject);
    topic.events.push(event);
    if (topic.last < event.sequence) topic.last = event.sequence;
  }

  recoverMark(subject: string, mark: { readonly last: bigint; readonly stored: bigint }): void {
    const topic = this.#topics.get(subject) ?? this.#begin(subject);
    if (topic.last < mark.last) topic.last = mark.last;
    if (topic.stored < mark.stored) topic.stored = mark.stored;
  }

  /** Goes on where predecessors were, as somebody new. Settles what the stream is known to hold. */
  endRecovery(): void {
    const origin = this.#newOrigin();
    for (const topic of this.#topics.values()) {
      topic.origin = origin;
      for (const event of topic.events) {
        if (event.sequence <= topic.stored) event.fate = "settled";
        else topic.unsent += 1;
      }
    }
  }

  /** When the oldest event was said that the stream is not known to hold; null where there is none. */
  oldestUnsentUnixUs(): number | null {
    let oldest: number | null = null;
    for (const { unsent, events, firstUnsent } of this.#topics.values()) {
      if (unsent === 0) continue;
      // In the order in which they were said.
      let index = firstUnsent;
      while (index < events.length && events[index]?.fate !== "unsent") index += 1;
      const saidAtUnixUs = events[index]?.saidAtUnixUs ?? 0;
      if (saidAtUnixUs > 0 && (oldest === null || saidAtUnixUs < oldest)) oldest = saidAtUnixUs;
    }
    return oldest;
  }

  forgetEvents(isGone: (event: SpooledEvent) => boolean): void {
    for (const topic of this.#topics.values()) {
      topic.events = topic.events.filter((event) => !isGone(event));
      topic.firstUnsent = 0;
    }
  }

  #begin(subject: string): Topic {
    const topic: Topic = {
      subject,
      origin: 0n,
      last: 0n,
      stored: 0n,
      events: [],
      unsent: 0,
      firstUnsent: 0,
    };
    this.#topics.set(subject, topic);
    return topic;
  }

  /** A host's clock may have been set back since. */
  #newOrigin(): bigint {
    const now = BigInt(this.#unixUs());
    this.#newestOrigin = now > this.#newestOrigin ? now : this.#newestOrigin + 1n;
    return this.#newestOrigin;
  }

  #forgetOldest(): void {
    if (this.#topics.size <= TOPICS_KEPT) return;
    for (const [subject, { unsent }] of this.#topics) {
      if (unsent > 0) continue;
      this.#topics.delete(subject);
      return;
    }
  }
}
