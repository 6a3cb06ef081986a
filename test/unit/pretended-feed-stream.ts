import type { Appended, FeedMessage, FeedStream, StoredMessage } from "../../agent/feed/feed-stream.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";

interface Stored extends StoredMessage {
  readonly subject: string;
  readonly event: FeedEvent;
}

/** The feed's stream in memory, without a duplicate window: what it stores once it does so by positions alone. */
export class PretendedFeedStream implements FeedStream {
  readonly messages: Stored[] = [];
  /** Taken by the next calls of `append`, in order; "unknown" is done all the same, "hopeless" is the message's fault. */
  readonly failures: ("lost" | "unknown" | "hopeless")[] = [];
  state: "reachable" | "away" = "reachable";
  reads = 0;
  #position = 0;

  async last(subject: string): Promise<StoredMessage | null> {
    this.#requireReachable();
    this.reads += 1;
    return this.messages.filter((message) => message.subject === subject).at(-1) ?? null;
  }

  async append({ subject, messageId, body }: FeedMessage, after: number): Promise<Appended> {
    this.#requireReachable();
    const failure = this.failures.shift();
    if (failure === "lost") throw unknownOutcome();
    if (failure === "hopeless") {
      throw new SwitchoverError("INVALID_ARGUMENT", "Too large.", { reason: "EVENT_UNSENDABLE" });
    }
    const newest = this.messages.filter((message) => message.subject === subject).at(-1)?.position ?? 0;
    if (newest !== after) return { t: "overtaken" };
    this.#position += 1;
    const event = FeedEvent.fromJSON(JSON.parse(body));
    this.messages.push({ subject, messageId, sequence: event.sequence, position: this.#position, event });
    if (failure === "unknown") throw unknownOutcome();
    return { t: "stored", position: this.#position };
  }

  /** The events of a migration, or of guests outside one, as an observer hears them. */
  eventsOf(migrationId: string): readonly FeedEvent[] {
    return this.messages.map(({ event }) => event).filter((event) => event.migrationId === migrationId);
  }

  sequencesOf(migrationId: string): readonly number[] {
    return this.eventsOf(migrationId).map(({ sequence }) => Number(sequence));
  }

  #requireReachable(): void {
    if (this.state === "away") {
      throw new SwitchoverError("UNAVAILABLE", "NATS is away.", { reason: "NATS_UNREACHABLE" });
    }
  }
}

function unknownOutcome(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "No answer.", { reason: "OUTCOME_UNKNOWN" });
}
