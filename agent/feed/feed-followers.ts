import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { FeedSpool } from "./feed-spool.ts";

/** Read from the spool at a time. */
const BATCH = 64;

/**
 * Gives what this agent says about a subject to those who follow it: from where they were, also over an agent's
 * restart, in order and without gaps. Each reads at its own pace from the spool, so nothing queues up for a slow one.
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
  async *follow(subject: string, afterSequence: bigint, signal: AbortSignal): AsyncIterable<FeedEvent> {
    let heard = afterSequence;
    while (!signal.aborted) {
      const events = this.#spool.eventsAfter(subject, heard, BATCH);
      if (events.length === 0) await this.#more(subject, signal);
      for (const event of events) {
        // A follower takes nothing before what it lacks; without this it would wait for ever for what nobody has.
        for (let lost = heard + 1n; lost < event.sequence; lost += 1n) {
          if (signal.aborted) return;
          yield forgotten(event, lost);
        }
        if (signal.aborted) return;
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

/** Stands where an event was that this agent no longer has; never published. */
function forgotten(next: FeedEvent, sequence: bigint): FeedEvent {
  const sentence = `What this host's agent said as number ${sequence} is no longer here.`;
  const value = { reason: "FEED_EVENTS_FORGOTTEN", sentence, metadata: {} };
  return { ...next, sequence, event: { $case: "alarmRaised", value } };
}
