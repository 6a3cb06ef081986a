import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";

/** What a topic keeps for followers that come late; older events are in the feed's stream. */
const EVENTS_KEPT = 1024;
const TOPICS_KEPT = 4096;
const EVENTS_A_FOLLOWER_MAY_LAG = 4096;

interface Topic {
  lastSequence: bigint;
  readonly events: FeedEvent[];
  readonly followers: Set<Follower>;
}

interface Follower {
  readonly waiting: FeedEvent[];
  wake: () => void;
}

/**
 * Numbers what this agent says, per migration (or per guest outside one), from 1 without gaps, and hands it to
 * followers. Bounded: a follower that lags too far is ended and asks again from where it was.
 */
export class FeedLog {
  readonly #topics = new Map<string, Topic>();

  /** Returns the event with its number. */
  append(event: Omit<FeedEvent, "sequence">): FeedEvent {
    const topic = this.#topic(topicOf(event.guestId, event.migrationId));
    topic.lastSequence += 1n;
    const numbered: FeedEvent = { ...event, sequence: topic.lastSequence };
    topic.events.push(numbered);
    if (topic.events.length > EVENTS_KEPT) topic.events.shift();
    for (const follower of topic.followers) {
      follower.waiting.push(numbered);
      follower.wake();
    }
    return numbered;
  }

  /** All events about the migration after `afterSequence`, then each new one, until `signal` or too much lag. */
  async *follow(
    guestId: string,
    migrationId: string,
    afterSequence: bigint,
    signal: AbortSignal,
  ): AsyncIterable<FeedEvent> {
    const topic = this.#topic(topicOf(guestId, migrationId));
    const follower: Follower = {
      waiting: topic.events.filter((event) => event.sequence > afterSequence),
      wake: () => {},
    };
    topic.followers.add(follower);
    const onAbort = () => follower.wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted && follower.waiting.length <= EVENTS_A_FOLLOWER_MAY_LAG) {
        const next = follower.waiting.shift();
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (follower.wake = resolve));
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      topic.followers.delete(follower);
    }
  }

  #topic(name: string): Topic {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const topic: Topic = { lastSequence: 0n, events: [], followers: new Set() };
    this.#topics.set(name, topic);
    this.#forgetOldest();
    return topic;
  }

  #forgetOldest(): void {
    if (this.#topics.size <= TOPICS_KEPT) return;
    for (const [name, topic] of this.#topics) {
      if (topic.followers.size > 0) continue;
      this.#topics.delete(name);
      return;
    }
  }
}

function topicOf(guestId: string, migrationId: string): string {
  return migrationId === "" ? `guest ${guestId}` : migrationId;
}
