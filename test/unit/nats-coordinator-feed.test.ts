import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, nanos } from "nats";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { migrationIdOf } from "../../proto/ids.ts";
import { FEED_ALL, FEED_STREAM, type FeedPlace } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { FeedConsumer } from "../../services/nats/feed-consumer.ts";
import { NatsPhaseFeed } from "../../services/nats/phase-feed.ts";
import { eventOf, HA, natsBench, newGuest, silent, until, WAIT_MS } from "./nats-bench.ts";
import { openHost } from "./nats-speaking-host.ts";

const nats = natsBench();

test("a coordinator's words are stored once and its last sequence is found", async (t) => {
  const feed = new NatsPhaseFeed(await nats.openLink(t));
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.125);
  assert.equal(await feed.lastSequence(migrationId), 0n);
  for (const sequence of [1n, 2n, 2n]) {
    await feed.publish(eventOf(migrationId, guestId, sequence), `${migrationId}:coordinator:${sequence}`);
  }
  assert.equal(await feed.lastSequence(migrationId), 2n);
});

test("coordinators that publish one migration's phases at the same time store each once and in order", async (t) => {
  const other = await nats.startServer("phases");
  t.after(() => other.close());
  const connection = await connect({ servers: other.url });
  t.after(() => connection.close());
  const { streams } = await connection.jetstreamManager();
  // Ids are forgotten at once: what is stored once is so by its place alone.
  await streams.add({ name: FEED_STREAM, subjects: [FEED_ALL], duplicate_window: nanos(100) });
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.125);
  const phases = Array.from({ length: 40 }, (_, index) => BigInt(index + 1));
  const coordinators = await Promise.all(
    ["one", "two", "three"].map(async (name) => {
      const link = NatsLink.open({ url: other.url, name, log: silent });
      t.after(() => link.close());
      await link.whenReachable(WAIT_MS);
      return new NatsPhaseFeed(link);
    }),
  );
  const publishAll = async (feed: NatsPhaseFeed) => {
    for (const sequence of phases) {
      await feed.publish(eventOf(migrationId, guestId, sequence), `${migrationId}:${sequence}`);
    }
  };
  await Promise.all(coordinators.map(publishAll));
  await new Promise((resolve) => setTimeout(resolve, 300));
  await Promise.all(coordinators.map(publishAll));
  const consumer = await connection.jetstream().consumers.get(FEED_STREAM);
  const stored: bigint[] = [];
  for await (const message of await consumer.fetch({ max_messages: 100, expires: 1_000 })) {
    stored.push(FeedEvent.fromJSON(message.json()).sequence);
  }
  assert.deepEqual(stored, phases);
});

test("a consumer hears every event in order, a refused one again, also after the server was killed", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.0625);
  const heard: number[] = [];
  let refusals = 0;
  const consumer = new FeedConsumer(
    link,
    guestId,
    async (event) => {
      if (event.migrationId !== migrationId) return;
      if (event.sequence === 20n && refusals === 0) {
        refusals += 1;
        throw new Error("Not now.");
      }
      heard.push(Number(event.sequence));
    },
    silent,
  );
  t.after(() => consumer.close(1_000));
  await until(() => isConsumed(link, guestId), "the consumer");
  const host = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  for (let round = 1; round <= 20; round += 1) host.say(migrationId, guestId, round);
  await until(() => heard.includes(20), "the refused event to come again");
  await nats.killServer(link);
  const restartedMs = performance.now();
  for (let round = 21; round <= 40; round += 1) host.say(migrationId, guestId, round);
  await until(() => heard.includes(40), "the events after the restart");
  t.diagnostic(`heard again ${(performance.now() - restartedMs).toFixed(0)} ms after the server was back`);
  const firstTimes = heard.filter((sequence, index) => heard.indexOf(sequence) === index);
  assert.deepEqual(
    firstTimes,
    Array.from({ length: 40 }, (_, index) => index + 1),
  );
});

test("a word that nobody awaits is not read, and counts as heard all the same", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.03125);
  const heard: number[] = [];
  const places = new Set<string>();
  const listen = async (event: FeedEvent) => void heard.push(Number(event.sequence));
  const isAwaited = (place: FeedPlace) => {
    if (place.migrationId !== migrationId) return false;
    places.add(`${place.hostId} ${place.sequence}`);
    return place.sequence === 3n;
  };
  const consumer = new FeedConsumer(link, guestId, listen, silent, isAwaited);
  t.after(() => consumer.close(1_000));
  await until(() => isConsumed(link, guestId), "the consumer");
  const host = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  for (let round = 1; round <= 4; round += 1) host.say(migrationId, guestId, round);
  await until(() => places.size === 4, "the four words");
  assert.deepEqual(
    [...places].sort(),
    [1, 2, 3, 4].map((sequence) => `${HA} ${sequence}`),
  );
  const connection = await link.whenReachable(WAIT_MS);
  const { consumers } = await connection.jetstreamManager();
  const isDone = async (): Promise<boolean> => {
    const {
      ack_floor: floor,
      delivered,
      num_ack_pending: pending,
    } = await consumers.info(FEED_STREAM, `coordinator-${guestId}`);
    return pending === 0 && floor.consumer_seq === delivered.consumer_seq && delivered.consumer_seq >= 4;
  };
  await until(isDone, "all to be acknowledged");
  assert.deepEqual(heard, [3]);
});

async function isConsumed(link: NatsLink, coordinatorId: string): Promise<boolean> {
  const manager = await (await link.whenReachable(WAIT_MS)).jetstreamManager();
  const info = await manager.consumers
    .info(FEED_STREAM, `coordinator-${coordinatorId}`)
    .catch(() => undefined);
  return (info?.num_waiting ?? 0) > 0;
}
