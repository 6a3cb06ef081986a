import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { MigrationId } from "../../proto/ids.ts";

/** The coordinator's way into the feed, on the subject `feedSubject({migration}, {coordinator})`. */
export interface FeedPort {
  /**
   * Resolves once the feed holds the event. A message id that the feed holds already changes nothing
   * (`Nats-Msg-Id`). UNAVAILABLE where that cannot be said in time: the caller publishes it again, before any later
   * one.
   */
  publish(event: FeedEvent, messageId: string): Promise<void>;
  /** `sequence` of the last event that a coordinator published about the migration; 0 where there is none. */
  lastSequence(migrationId: MigrationId): Promise<bigint>;
}
