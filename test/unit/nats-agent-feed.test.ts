import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, nanos } from "nats";
import { migrationIdOf } from "../../proto/ids.ts";
import { FEED_ALL, FEED_STREAM } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { freeze } from "./freeze.ts";
import { openWire } from "./lossy-wire.ts";
import { natsBench, newGuest, silent, until, WAIT_MS } from "./nats-bench.ts";
import { openHost, storedSequences } from "./nats-speaking-host.ts";

const nats = natsBench();

test("the feed holds every event once and in order after the server was killed amid them", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.25);
  const host = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  const total = 3_000;
  for (let round = 1; round <= total; round += 1) {
    host.say(migrationId, guestId, round);
    if (round === total / 3) {
      await until(async () => (await storedSequences(link, migrationId)).length > 100, "the first events");
      await nats.killServer(link);
    }
  }
  assert.equal(await host.feed.drain(WAIT_MS), 0);
  const stored = await storedSequences(link, migrationId);
  assert.deepEqual(
    stored,
    Array.from({ length: total }, (_, index) => index + 1),
  );
});

test("an event whose acknowledgement was lost is not stored again when JetStream has forgotten its id", async (t) => {
  const other = await nats.startServer("forgetful");
  t.after(() => other.close());
  const connection = await connect({ servers: other.url });
  t.after(() => connection.close());
  const { streams } = await connection.jetstreamManager();
  await streams.add({ name: FEED_STREAM, subjects: [FEED_ALL], duplicate_window: nanos(100) });
  const wire = await openWire(t, Number(new URL(other.url).port));
  const link = NatsLink.open({ url: `nats://127.0.0.1:${wire.port}`, name: "lossy", log: silent });
  t.after(() => link.close());
  await link.whenReachable(WAIT_MS);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.375);
  const host = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  const stored = async () => (await streams.info(FEED_STREAM)).state.messages;

  wire.answers = "lost";
  host.say(migrationId, guestId, 1);
  await until(async () => (await stored()) === 1, "the event");
  await new Promise((resolve) => setTimeout(resolve, 300));
  wire.cut();
  wire.answers = "passed on";
  host.say(migrationId, guestId, 2);
  assert.equal(await host.feed.drain(WAIT_MS), 0);
  assert.equal(await stored(), 2);
});

test("a host's words are in the feed once and in order after its agent and NATS were killed in an outage", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.3);
  const spool = nats.newFolder(`feed-${guestId}`);
  const first = openHost(t, link, spool);
  for (let round = 1; round <= 500; round += 1) {
    first.say(migrationId, guestId, round);
    first.say("", guestId, round);
  }
  await until(async () => (await storedSequences(link, migrationId)).length > 20, "the first events");
  await nats.killServer(link);
  first.feed.close();
  const second = openHost(t, link, spool);
  for (let round = 501; round <= 600; round += 1) {
    second.say(migrationId, guestId, round);
    second.say("", guestId, round);
  }
  assert.equal(await second.feed.drain(WAIT_MS), 0);
  const expected = Array.from({ length: 600 }, (_, index) => index + 1);
  assert.deepEqual(await storedSequences(link, migrationId), expected);
  assert.deepEqual(await storedSequences(link, "", guestId), expected);
});

test("two processes that send one spool's words at the same time store each once and in order", async (t) => {
  const links = [await nats.openLink(t), await nats.openLink(t)] as const;
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.4);
  const spool = nats.newFolder(`feed-${guestId}`);
  const old = openHost(t, links[0], spool);
  for (let round = 1; round <= 300; round += 1) old.say(migrationId, guestId, round);
  // The old process lives on and sends what it has.
  const successor = openHost(t, links[1], spool);
  for (let round = 301; round <= 400; round += 1) successor.say(migrationId, guestId, round);
  assert.equal(await successor.feed.drain(WAIT_MS), 0);
  assert.equal(await old.feed.drain(WAIT_MS), 0);
  const expected = Array.from({ length: 400 }, (_, index) => index + 1);
  assert.deepEqual(await storedSequences(links[0], migrationId), expected);
});

test("an agent that lost its spool says nothing under its predecessor's numbers", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const first = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  for (let round = 1; round <= 3; round += 1) first.say("", guestId, round);
  assert.equal(await first.feed.drain(WAIT_MS), 0);
  first.feed.close();
  const second = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  second.say("", guestId, 4);
  second.say("", guestId, 5);
  assert.equal(await second.feed.drain(WAIT_MS), 0);
  assert.deepEqual(await storedSequences(link, "", guestId), [1, 2, 3, 4, 5]);
});

test("an event whose acknowledgement was lost is not stored again", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.75);
  const host = openHost(t, link, nats.newFolder(`feed-${newGuest()}`));
  freeze(nats.server.pid);
  host.say(migrationId, guestId, 1);
  // Longer than an attempt, shorter than the connection's patience.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  process.kill(nats.server.pid, "SIGCONT");
  host.say(migrationId, guestId, 2);
  assert.equal(await host.feed.drain(WAIT_MS), 0);
  assert.deepEqual(await storedSequences(link, migrationId), [1, 2]);
});
