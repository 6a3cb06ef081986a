import type { FeedPort } from "../../coordinator/runner/feed-port.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { feedSubject } from "../../proto/subjects.ts";
import type { NatsLink } from "./connection.ts";
import { NatsFeedStream } from "./feed-stream.ts";

/** Migrations whose newest message is remembered; of others it is read again. */
const SUBJECTS_KEPT = 4_096;
/** Coordinators of one migration overtake each other once a phase at most. */
const ATTEMPTS = 8;

interface Newest {
  readonly position: number;
  readonly sequence: bigint;
}

/**
 * FeedPort on the feed's stream: a coordinator's own words, stored only as the next after those that it knows of. So
 * coordinators that publish one migration's phases at the same time, or long after each other, store each once and in
 * order.
 */
export class NatsPhaseFeed implements FeedPort {
  readonly #stream: NatsFeedStream;
  readonly #newest = new Map<string, Newest>();

  constructor(link: NatsLink) {
    this.#stream = new NatsFeedStream(link);
  }

  async publish(event: FeedEvent, messageId: string): Promise<void> {
    const subject = subjectOf(event.migrationId as MigrationId);
    const body = JSON.stringify(FeedEvent.toJSON(event));
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const newest = this.#newest.get(subject) ?? (await this.#read(subject));
      if (newest.sequence >= event.sequence) return;
      // Whatever comes of it, what was known is no longer so.
      this.#newest.delete(subject);
      const appended = await this.#stream.append({ subject, messageId, body }, newest.position);
      if (appended.t === "overtaken") continue;
      this.#remember(subject, { position: appended.position, sequence: event.sequence });
      return;
    }
    const sentence = `The event ${messageId} is not known to be in the feed: others write there all the time.`;
    throw new SwitchoverError("UNAVAILABLE", sentence, { reason: "FEED_CONTENDED" });
  }

  async lastSequence(migrationId: MigrationId): Promise<bigint> {
    return (await this.#read(subjectOf(migrationId))).sequence;
  }

  async #read(subject: string): Promise<Newest> {
    const last = (await this.#stream.last(subject)) ?? { position: 0, sequence: 0n };
    this.#remember(subject, last);
    return last;
  }

  #remember(subject: string, newest: Newest): void {
    this.#newest.delete(subject);
    this.#newest.set(subject, newest);
    if (this.#newest.size <= SUBJECTS_KEPT) return;
    const [oldest] = this.#newest.keys();
    if (oldest !== undefined) this.#newest.delete(oldest);
  }
}

function subjectOf(migrationId: MigrationId): string {
  return feedSubject({ t: "migration", migrationId }, { t: "coordinator" });
}
