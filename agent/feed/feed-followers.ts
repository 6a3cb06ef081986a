import { FEED_EVENTS_FORGOTTEN } from "../../proto/feed-reason.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { HostId } from "../../proto/ids.ts";
import type { FeedSpool } from "./feed-spool.ts";
import { subjectOf } from "./feed-subject.ts";

/** Read from the spool at a time. */
const BATCH = 64;

/** Whose words about what are followed; `migrationId` is empty for a guest outside a migration. */
export interface FollowedTopic {
  readonly guestId: string;
  readonly migrationId: string;
  readonly hostId: HostId;
}

/**
 * Gives what this agent says about a subject to those who follow it: from where they were, also over an agent's
 * restart, in order and without gaps: what is no longer here is told to be so at once. Each reads at its own pace from
 * the spool, so nothing queues up for a slow one.
 */
export class FeedFollowers {
  readonly #spool: FeedSpool;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(spool: FeedSpool) {
    this.#spool = spool;
  }

  /** There is more under the subject. */
  wake(subject: string): void {
    const waiting = this.#waiting.get(subject);
    this.#waiting.delete(subject);
    for (const wake of waiting ?? []) wake();
  }

  /** All events after `afterSequence`, then each new one, until `signal`. */
  async *follow(topic: FollowedTopic, afterSequence: bigint, signal: AbortSignal): AsyncIterable<FeedEvent> {
    const subject = subjectOf(topic, topic.hostId);
    let heard = afterSequence;
    while (!signal.aborted) {
      // A follower takes nothing before what it lacks; without this it would wait for ever for what nobody has.
      const lost = this.#spool.forgottenAfter(subject, heard);
      for (; heard < lost; heard += 1n) {
        if (signal.aborted) return;
        yield forgotten(topic, heard + 1n);
      }
      const events = this.#spool.eventsAfter(subject, heard, BATCH);
      if (events.length === 0 && this.#spool.forgottenAfter(subject, heard) === heard) {
        await this.#more(subject, signal);
      }
      for (const event of events) {
        if (signal.aborted) return;
        // What cannot be read any more stands between others.
        if (event.sequence !== heard + 1n) break;
        yield event;
        heard = event.sequence;
      }
    }
  }

  #more(subject: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(subject) ?? new Set();
      this.#waiting.set(subject, waiting);
      const done = (): void => {
        signal.removeEventListener("abort", done);
        waiting.delete(done);
        if (waiting.size === 0 && this.#waiting.get(subject) === waiting) this.#waiting.delete(subject);
        resolve();
      };
      waiting.add(done);
      signal.addEventListener("abort", done);
    });
  }
}

/** Stands where an event was that this agent no longer has; never published. Of which instance is not known any more. */
function forgotten({ guestId, migrationId, hostId }: FollowedTopic, sequence: bigint): FeedEvent {
  const sentence = `What this host's agent said as number ${sequence} is no longer here.`;
  const value = { reason: FEED_EVENTS_FORGOTTEN, sentence, metadata: {} };
  return {
    migrationId,
    guestId,
    hostId,
    instanceId: "",
    fence: undefined,
    sequence,
    atUnixUs: 0n,
    event: { $case: "alarmRaised", value },
  };
}
