import type { GuestId, HostId, MigrationId } from "./ids.ts";

/**
 * Every NATS subject, stream, bucket and key of Switchover is built and parsed here, and nowhere else.
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
/** What most observers want: the phases of all migrations. */
export const FEED_ALL_PHASES = "switchover.v1.feed.*.coordinator";

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
  const topicToken = topic.t === "migration" ? topic.migrationId : `guest-${topic.guestId}`;
  const publisherTokens = publisher.t === "coordinator" ? "coordinator" : `host.${publisher.hostId}`;
  return `${FEED_PREFIX}${topicToken}.${publisherTokens}`;
}

/** All that is said about one migration, by everyone. */
export function feedOfMigration(migrationId: MigrationId): string {
  return `${FEED_PREFIX}${migrationId}.>`;
}

/** Returns null for a subject that is not the feed's. */
export function parseFeedPublisher(subject: string): FeedPublisher | null {
  if (!subject.startsWith(FEED_PREFIX)) return null;
  const [, kind, hostId, ...rest] = subject.slice(FEED_PREFIX.length).split(".");
  if (kind === "coordinator" && hostId === undefined) return { t: "coordinator" };
  if (kind === "host" && hostId !== undefined && rest.length === 0)
    return { t: "host", hostId: hostId as HostId };
  return null;
}

export function handOffSubject(guestId: GuestId): string {
  return `switchover.v1.handoff.${guestId}`;
}
