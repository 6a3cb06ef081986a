import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { AgentFeed } from "../../agent/feed/agent-feed.ts";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";
import { FEED_STREAM } from "../../proto/subjects.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import type { NatsLink } from "../../services/nats/connection.ts";
import { NatsFeedStream } from "../../services/nats/feed-stream.ts";
import { armedGuest, residentGuest } from "./guest-gate.ts";
import { HA, silent, WAIT_MS } from "./nats-bench.ts";

export interface SpeakingHost {
  readonly feed: AgentFeed;
  /** Says something about the migration, or about the guest outside one. */
  say(migrationId: string, guestId: GuestId, round: number): void;
}

/** What the agent on HA says, with its spool in a directory: one of its own, or where another agent's was. */
export function openHost(t: TestContext, link: NatsLink, spool: string): SpeakingHost {
  const store = openSpoolDirectory(spool);
  const stream = new NatsFeedStream(link);
  const feed = new AgentFeed({ hostId: HA, clock: openHostClock(), log: silent, spool: store, feed: stream });
  t.after(() => feed.close());
  const say = (migrationId: string, guestId: GuestId, round: number): void => {
    const { migration } = armedGuest("live", "completed");
    assert.ok(migration !== null);
    const about = migrationId === "" ? null : { ...migration, migrationId: migrationId as MigrationId };
    const guest = { ...residentGuest("running"), guestId, hostId: HA, migration: about };
    feed.publish(guest, { $case: "announced", value: { round, announcedAtUnixUs: 1n, firstFrames: [] } }, 1);
  };
  return { feed, say };
}

export async function storedSequences(
  link: NatsLink,
  migrationId: string,
  guestId = "",
): Promise<readonly number[]> {
  const connection = await link.whenReachable(WAIT_MS);
  const subject = subjectOf({ guestId, migrationId }, HA);
  const consumer = await connection.jetstream().consumers.get(FEED_STREAM, { filterSubjects: subject });
  const { num_pending: count } = await consumer.info();
  const sequences: number[] = [];
  if (count === 0) return sequences;
  for await (const message of await consumer.consume({ max_messages: 1_000 })) {
    sequences.push(Number(FeedEvent.fromJSON(message.json()).sequence));
    if (sequences.length >= count) break;
  }
  return sequences;
}
