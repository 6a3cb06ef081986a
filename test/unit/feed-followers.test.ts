import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FeedFollowers } from "../../agent/feed/feed-followers.ts";
import { FeedSpool, type NewEvent } from "../../agent/feed/feed-spool.ts";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { HostId } from "../../proto/ids.ts";
import { FENCE, GUEST, MIGRATION } from "./guest-gate.ts";
import { PretendedSpoolStore } from "./pretended-spool-store.ts";

const HOST = "ha" as HostId;
const TOPIC = { guestId: GUEST, migrationId: MIGRATION, hostId: HOST };
const SUBJECT = subjectOf(TOPIC, HOST);
const OTHERS = "other-7-mk3v0q8ya1z9";
const LIMITS = { segment: 300, keep: 300, tight: 100_000, full: 100_000 };

function said(migrationId: string): NewEvent {
  return {
    migrationId,
    guestId: GUEST,
    hostId: HOST,
    instanceId: "a1",
    fence: FENCE,
    atUnixUs: 1n,
    event: { $case: "announced", value: { round: 1, announcedAtUnixUs: 1n, firstFrames: [] } },
  };
}

/** A spool with so little room that what others say pushes out what the stream has. */
class Speaker {
  readonly spool = new FeedSpool({
    hostId: HOST,
    store: new PretendedSpoolStore(),
    clock: { unixUs: () => 1_000, after: () => () => {} },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    limits: LIMITS,
  });
  readonly followers = new FeedFollowers(this.spool);

  async say(migrationId: string = MIGRATION): Promise<void> {
    const events = this.spool.append([said(migrationId)]);
    await this.spool.sync();
    this.spool.reveal(events);
    for (const event of events) this.spool.settle(event);
    for (const { subject } of events) this.followers.wake(subject);
  }

  async forget(): Promise<void> {
    while (this.spool.eventsAfter(SUBJECT, 0n, 1).length > 0) await this.say(OTHERS);
  }
}

const reasonOf = ({ sequence, event }: FeedEvent) =>
  `${sequence}:${event?.$case === "alarmRaised" ? event.value.reason : event?.$case}`;

/** What a follower hears at once: all that comes before it has to wait. */
async function heard({ followers }: Speaker, after: bigint): Promise<FeedEvent[]> {
  const ending = new AbortController();
  const events: FeedEvent[] = [];
  const following = (async () => {
    for await (const event of followers.follow(TOPIC, after, ending.signal)) events.push(event);
  })();
  await new Promise(setImmediate);
  ending.abort();
  await following;
  return events;
}

describe("a follower that lacks what the agent has let go of", () => {
  it("is told so at once, up to the last number, and not only with the next word", async () => {
    const speaker = new Speaker();
    await speaker.say();
    await speaker.say();
    await speaker.forget();
    const events = await heard(speaker, 0n);
    assert.deepEqual(events.map(reasonOf), ["1:FEED_EVENTS_FORGOTTEN", "2:FEED_EVENTS_FORGOTTEN"]);
    const [first] = events;
    assert.deepEqual([first?.hostId, first?.guestId, first?.migrationId], [HOST, GUEST, MIGRATION]);
    assert.deepEqual((await heard(speaker, 1n)).map(reasonOf), ["2:FEED_EVENTS_FORGOTTEN"]);
  });

  it("is told nothing of it where it has heard that", async () => {
    const speaker = new Speaker();
    await speaker.say();
    await speaker.forget();
    assert.deepEqual(await heard(speaker, 1n), []);
  });

  it("hears the words after that once each", async () => {
    const speaker = new Speaker();
    await speaker.say();
    await speaker.forget();
    await speaker.say();
    assert.deepEqual((await heard(speaker, 0n)).map(reasonOf), ["1:FEED_EVENTS_FORGOTTEN", "2:announced"]);
  });

  it("is told so where it was let go of while the follower read", async () => {
    const speaker = new Speaker();
    await speaker.say();
    const ending = new AbortController();
    const events = speaker.followers.follow(TOPIC, 0n, ending.signal)[Symbol.asyncIterator]();
    assert.equal(reasonOf((await events.next()).value), "1:announced");
    await speaker.say();
    await speaker.forget();
    const next = events.next();
    assert.equal(reasonOf((await next).value), "2:FEED_EVENTS_FORGOTTEN");
    ending.abort();
  });

  it("hears nothing of what is not on disk yet", async () => {
    const speaker = new Speaker();
    speaker.spool.append([said(MIGRATION)]);
    assert.deepEqual(await heard(speaker, 0n), []);
  });
});
