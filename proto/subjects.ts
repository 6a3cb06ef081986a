import type { GuestId, HostId, MigrationId } from "./ids.ts";

/**
 * Every NATS subject, stream, bucket and key of Switchover is built here, and nowhere else.
 *
 *   switchover.v1.feed.MIGRATION.coordinator      phases of a migration, from the coordinator that committed them
 *   switchover.v1.feed.MIGRATION.host.HOST        what the agent on HOST did for it
 *   switchover.v1.feed.guest-GUEST.host.HOST      what happened to a guest outside a migration
 *   switchover.v1.handoff.GUEST                   the source's word, plain NATS, one hop
 *
 *   switchover.v1.coordinator.COORDINATOR         that a coordinator is there, plain NATS
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

/** Key: guest id. Value: AdmissionSlot as proto3 JSON. */
export const SLOT_BUCKET = "switchover_slots";

/** Key: host id. Value: DrainRecord as proto3 JSON. */
export const DRAIN_BUCKET = "switchover_drains";

export type FeedPublisher = { readonly t: "coordinator" } | { readonly t: "host"; readonly hostId: HostId };
export type FeedTopic =
  | { readonly t: "migration"; readonly migrationId: MigrationId }
  | { readonly t: "guest"; readonly guestId: GuestId };

const FEED_PREFIX = "switchover.v1.feed.";

export function feedSubject(topic: FeedTopic, publisher: FeedPublisher): string {
  const publisherTokens = publisher.t === "coordinator" ? "coordinator" : `host.${publisher.hostId}`;
  return `${FEED_PREFIX}${feedTopicToken(topic)}.${publisherTokens}`;
}

/** What a message is about: the token of its subject that says so. */
export function feedTopicToken(topic: FeedTopic): string {
  return topic.t === "migration" ? topic.migrationId : `guest-${topic.guestId}`;
}

/** A host's word about a migration, by what its message says of it outside its body. */
export interface FeedPlace {
  readonly migrationId: MigrationId;
  readonly hostId: HostId;
  /** The event's own. */
  readonly sequence: bigint;
}

/** The id of a host's message, one for each event that was ever numbered; `origin` tells apart who gave a number twice. */
export function feedMessageId(subject: string, origin: bigint, sequence: bigint): string {
  return `${subject}:${origin}:${sequence}`;
}

const HOST_WORD = /^switchover\.v1\.feed\.([^.]+)\.host\.([^.]+)$/;
const NUMBERED = /:\d+:(\d+)$/;

/** Where a host's message belongs; null for one about a guest outside a migration, or by another hand. */
export function parseFeedPlace(subject: string, messageId: string): FeedPlace | null {
  const [, topic = "", hostId = ""] = HOST_WORD.exec(subject) ?? [];
  const [, sequence] = NUMBERED.exec(messageId) ?? [];
  if (topic === "" || sequence === undefined) return null;
  return { migrationId: topic as MigrationId, hostId: hostId as HostId, sequence: BigInt(sequence) };
}

/** What all publishers say about one topic. */
export function feedSubjects(topic: FeedTopic): string {
  return `${FEED_PREFIX}${feedTopicToken(topic)}.>`;
}

/** Heartbeats of all coordinators. */
export const COORDINATOR_ALL = "switchover.v1.coordinator.*";

export function coordinatorSubject(coordinatorId: string): string {
  return `switchover.v1.coordinator.${coordinatorId}`;
}

export function handOffSubject(guestId: GuestId): string {
  return `switchover.v1.handoff.${guestId}`;
}
