import type { GuestId, HostId, MigrationId } from "./ids.ts";

/**
 * Every NATS subject, stream, bucket and key of Switchover is built here, and nowhere else.
 *
 *   switchover.v1.feed.MIGRATION.coordinator      phases of a migration, from the coordinator that committed them
 *   switchover.v1.feed.MIGRATION.host.HOST        what the agent on HOST did for it
 *   switchover.v1.feed.guest-GUEST.host.HOST      what happened to a guest outside a migration
 *   switchover.v1.handoff.GUEST                   the source's word, plain NATS, one hop
 *
 * The feed is kept in the stream SWITCHOVER_FEED; the hand-off is not, because its journal is the truth.
 */
export const FEED_STREAM = "SWITCHOVER_FEED";
export const FEED_ALL = "switchover.v1.feed.>";
/** What coordinators consume: the words of all agents. */
export const FEED_ALL_HOSTS = "switchover.v1.feed.*.host.*";

/** Key: guest id. Value: GuestRecord as proto3 JSON. */
export const GUEST_BUCKET = "switchover_guests";
/** Key: migration id. Value: the ended MigrationState as proto3 JSON. */
export const HISTORY_BUCKET = "switchover_history";
/** Key: host id. Value: HostRecord as proto3 JSON; entries expire without a heartbeat. */
export const HOST_BUCKET = "switchover_hosts";

export type FeedPublisher = { readonly t: "coordinator" } | { readonly t: "host"; readonly hostId: HostId };
export type FeedTopic =
  | { readonly t: "migration"; readonly migrationId: MigrationId }
  | { readonly t: "guest"; readonly guestId: GuestId };

const FEED_PREFIX = "switchover.v1.feed.";

export function feedSubject(topic: FeedTopic, publisher: FeedPublisher): string {
  const publisherTokens = publisher.t === "coordinator" ? "coordinator" : `host.${publisher.hostId}`;
  return `${FEED_PREFIX}${topicToken(topic)}.${publisherTokens}`;
}

function topicToken(topic: FeedTopic): string {
  return topic.t === "migration" ? topic.migrationId : `guest-${topic.guestId}`;
}

/** What all publishers say about one topic. */
export function feedSubjects(topic: FeedTopic): string {
  return `${FEED_PREFIX}${topicToken(topic)}.>`;
}

export function handOffSubject(guestId: GuestId): string {
  return `switchover.v1.handoff.${guestId}`;
}
