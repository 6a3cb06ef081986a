import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { MigrationId } from "../../proto/ids.ts";

/** The coordinator's way into the feed, on the subject `feedSubject({migration}, {coordinator})`. */
export interface FeedPort {
  /**
   * Resolves once the feed holds the event, or one of the migration with a higher sequence: that changes nothing,
   * however long ago it was, and whichever coordinator published it. UNAVAILABLE where that cannot be said in time: the
   * caller publishes it again, before any later one.
   */
  publish(event: FeedEvent, messageId: string): Promise<void>;
  /** `sequence` of the last event that a coordinator published about the migration; 0 where there is none. */
  lastSequence(migrationId: MigrationId): Promise<bigint>;
}
