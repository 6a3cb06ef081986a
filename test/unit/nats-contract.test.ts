/**
 * What Switchover needs of NATS, against a real nats-server: whoever changes the client library or the server's version
 * finds out here. One server serves all tests, which kill and restart it, so they run one after the other.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { connect, nanos } from "nats";
import { AgentFeed } from "../../agent/feed/agent-feed.ts";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { GuestRecord, HostRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, type HostId, type MigrationId, migrationIdOf } from "../../proto/ids.ts";
import { FEED_ALL, FEED_STREAM, GUEST_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { FeedConsumer } from "../../services/nats/feed-consumer.ts";
import { NatsFeedStream } from "../../services/nats/feed-stream.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { NatsHandOffBus } from "../../services/nats/hand-off-bus.ts";
import { HostRegistry, startHeartbeat } from "../../services/nats/host-registry.ts";
import { NatsPhaseFeed } from "../../services/nats/phase-feed.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { freeze } from "./freeze.ts";
import { armedGuest, residentGuest } from "./guest-gate.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const HA = "ha" as HostId;
const WAIT_MS = 15_000;

let folder: string;
let server: OwnNatsServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "switchover-nats-"));
  server = await OwnNatsServer.start({
    address: "127.0.0.1",
    port: 0,
    folder: newFolder("nats"),
    log: silent,
  });
  const link = NatsLink.open({ url: server.url, name: "test", log: silent });
  await ensureStores(await link.whenReachable(WAIT_MS), 1);
  await link.close();
});

/** One more beside the others; made. */
function newFolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

async function openLink(t: TestContext): Promise<NatsLink> {
  const link = NatsLink.open({ url: server.url, name: t.name, log: silent });
  t.after(() => link.close());
  await link.whenReachable(WAIT_MS);
  return link;
}

/** The server dies without a word and comes back on the same store and port. */
async function killServer(link: NatsLink): Promise<void> {
  const killed = server.pid;
  process.kill(killed, "SIGKILL");
  await until(() => server.pid !== killed && server.pid !== 0, "the server to be started again");
  await until(() => link.state === "reachable", "the link to come back");
}

/** For states that announce themselves to nobody. */
async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `Waited in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function rejection(promise: Promise<unknown>): Promise<SwitchoverError> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof SwitchoverError, String(thrown));
    return thrown;
  }
  throw new Error("It did not fail.");
}

let names = 0;
function newGuest(): GuestId {
  names += 1;
  return `guest-${process.pid}-${names}` as GuestId;
}

function recordOf(guestId: GuestId, revision: bigint): GuestRecord {
  return GuestRecord.create({ guestId, epoch: 2n ** 63n, revision });
}

function eventOf(migrationId: MigrationId, guestId: GuestId, sequence: bigint): FeedEvent {
  const event = { $case: "announced", value: { round: Number(sequence) } } as const;
  return FeedEvent.create({ migrationId, guestId, hostId: HA, sequence, event });
}

test("a record is created, read and changed by compare-and-set", async (t) => {
  const store = new NatsGuestRecordStore(await openLink(t));
  const guestId = newGuest();
  assert.equal(await store.get(guestId), null);
  const created = await store.create(recordOf(guestId, 1n));
  assert.deepEqual(await store.get(guestId), created);
  const updated = await store.update(recordOf(guestId, 2n), created.revision);
  assert.ok(updated.revision > created.revision);
  assert.deepEqual(await store.get(guestId), updated);
});

test("of two writers one wins and the other learns of the conflict", async (t) => {
  const link = await openLink(t);
  const stores = [new NatsGuestRecordStore(link), new NatsGuestRecordStore(link)] as const;
  const guestId = newGuest();
  const outcomesOf = async (writes: readonly Promise<unknown>[]) =>
    (await Promise.allSettled(writes))
      .map((end) => (end.status === "fulfilled" ? "won" : end.reason.reason))
      .sort();
  const creations = await outcomesOf(stores.map((store) => store.create(recordOf(guestId, 1n))));
  assert.deepEqual(creations, ["REVISION_CONFLICT", "won"]);
  const seen = await stores[0].get(guestId);
  const updates = await outcomesOf(
    stores.map((store) => store.update(recordOf(guestId, 2n), seen?.revision ?? 0)),
  );
  assert.deepEqual(updates, ["REVISION_CONFLICT", "won"]);
});

test("a watch shows the record as it stands, then the newest, also after the server was killed", async (t) => {
  const link = await openLink(t);
  const store = new NatsGuestRecordStore(link);
  const guestId = newGuest();
  const first = await store.create(recordOf(guestId, 1n));
  const ending = new AbortController();
  const seen: StoredRecord[] = [];
  const watching = (async () => {
    for await (const stored of store.watch(guestId, ending.signal)) seen.push(stored);
  })();
  await until(() => seen.length === 1, "the first state");
  const second = await store.update(recordOf(guestId, 2n), first.revision);
  await until(() => seen.at(-1)?.revision === second.revision, "the second state");
  await killServer(link);
  let third: StoredRecord | undefined;
  await until(async () => {
    third = await store.update(recordOf(guestId, 3n), second.revision).catch(() => undefined);
    third ??= (await store.get(guestId).catch(() => null)) ?? undefined;
    return third?.record.revision === 3n;
  }, "a write after the restart");
  await until(() => seen.at(-1)?.record.revision === 3n, "the third state");
  ending.abort();
  await watching;
});

test("a watch of all records shows each as it changes, and is not stopped by one that cannot be read", async (t) => {
  const link = await openLink(t);
  const store = new NatsGuestRecordStore(link);
  const [broken, whole] = [newGuest(), newGuest()];
  const kv = await link.connection?.jetstream().views.kv(GUEST_BUCKET, { bindOnly: true });
  await kv?.put(broken, "{");
  const ending = new AbortController();
  const seen: bigint[] = [];
  const watching = (async () => {
    for await (const { record } of store.watchAll(ending.signal)) {
      if (record.guestId === whole) seen.push(record.revision);
    }
  })();
  const { revision } = await store.create(recordOf(whole, 1n));
  await until(() => seen.length === 1, "the first state");
  await store.update(recordOf(whole, 2n), revision);
  await until(() => seen.length === 2, "the second state");
  assert.deepEqual(seen, [1n, 2n]);
  ending.abort();
  await watching;
  await kv?.purge(broken);
});

test("every guest with a record is listed", async (t) => {
  const store = new NatsGuestRecordStore(await openLink(t));
  const guests = [newGuest(), newGuest()];
  for (const guestId of guests) await store.create(recordOf(guestId, 1n));
  const listed = new Set<GuestId>();
  for await (const guestId of store.keys()) listed.add(guestId);
  assert.ok(guests.every((guestId) => listed.has(guestId)));
});

test("an ended migration is archived, again without harm", async (t) => {
  const store = new NatsGuestRecordStore(await openLink(t));
  const migrationId = migrationIdOf(newGuest(), Date.now(), 0.5);
  assert.equal(await store.readArchived(migrationId), null);
  const state = MigrationState.create({ migration: { migrationId }, heardSequences: { ha: 3n } });
  await store.archive(state);
  await store.archive(state);
  assert.deepEqual(await store.readArchived(migrationId), state);
});

test("a write to a silent server has an unknown outcome after a second", async (t) => {
  const store = new NatsGuestRecordStore(await openLink(t));
  const guestId = newGuest();
  const { revision } = await store.create(recordOf(guestId, 1n));
  freeze(server.pid);
  const startMs = performance.now();
  const error = await rejection(store.update(recordOf(guestId, 2n), revision)).finally(() =>
    process.kill(server.pid, "SIGCONT"),
  );
  assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "OUTCOME_UNKNOWN"]);
  assert.ok(performance.now() - startMs < 2_000);
  // It was done after all: that is what "unknown" is for.
  await until(async () => (await store.get(guestId))?.record.revision === 2n, "the write");
});

test("what is asked of a NATS that was never reached is UNAVAILABLE at once", async (t) => {
  const link = NatsLink.open({ url: "nats://127.0.0.1:1", name: "nobody", log: silent });
  t.after(() => link.close());
  const store = new NatsGuestRecordStore(link);
  assert.equal((await rejection(store.get(newGuest()))).reason, "NATS_UNREACHABLE");
  assert.equal((await rejection(link.whenReachable(50))).reason, "NATS_UNREACHABLE");
});

test("a host is known from its first heartbeat on and gone after its lifetime", async (t) => {
  const own = newFolder("expiry");
  const other = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: own, log: silent });
  t.after(() => other.close());
  const connection = await connect({ servers: other.url });
  // What ensureStores finds, it leaves: here a lifetime that a test can wait for.
  await connection.jetstream().views.kv(HOST_BUCKET, { ttl: 1_000 });
  await ensureStores(connection, 1);
  await connection.close();
  const link = NatsLink.open({ url: other.url, name: "expiry", log: silent });
  t.after(() => link.close());
  const registry = new HostRegistry(link, silent);
  t.after(() => registry.close());
  const record = HostRecord.create({ hostId: HA, target: "10.0.0.1:7443", heartbeatAtUnixUs: 5n });
  const end = startHeartbeat(link, silent, () => record);
  await until(async () => (await registry.get(HA).catch(() => null)) !== null, "the heartbeat");
  await end();
  await until(async () => (await registry.get(HA)) === null, "the expiry");
  await until(() => registry.lastKnown(HA) !== undefined, "the watch");
  assert.deepEqual(registry.lastKnown(HA), record);
});

interface SpeakingHost {
  readonly feed: AgentFeed;
  /** Says something about the migration, or about the guest outside one. */
  say(migrationId: string, guestId: GuestId, round: number): void;
}

/** What the agent on HA says, with its spool in a directory: one of its own, or where another agent's was. */
function openHost(t: TestContext, link: NatsLink, spool = newFolder(`feed-${newGuest()}`)): SpeakingHost {
  const store = openSpoolDirectory(spool);
  const stream = new NatsFeedStream(link);
  const feed = new AgentFeed({ hostId: HA, clock: openHostClock(), log: silent, spool: store, feed: stream });
  t.after(() => feed.close());
  const say = (migrationId: string, guestId: GuestId, round: number): void => {
    const { migration } = armedGuest("live", "completed");
    assert.ok(migration !== null);
    const about = migrationId === "" ? null : { ...migration, migrationId: migrationId as MigrationId };
    const guest = { ...residentGuest("running"), guestId, hostId: HA, migration: about };
    feed.publish(guest, { $case: "announced", value: { round, announcedAtUnixUs: 1n } }, 1);
  };
  return { feed, say };
}

test("the feed holds every event once and in order after the server was killed amid them", async (t) => {
  const link = await openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.25);
  const host = openHost(t, link);
  const total = 3_000;
  for (let round = 1; round <= total; round += 1) {
    host.say(migrationId, guestId, round);
    if (round === total / 3) {
      await until(async () => (await storedSequences(link, migrationId)).length > 100, "the first events");
      await killServer(link);
    }
  }
  assert.equal(await host.feed.drain(WAIT_MS), 0);
  const stored = await storedSequences(link, migrationId);
  assert.deepEqual(
    stored,
    Array.from({ length: total }, (_, index) => index + 1),
  );
});

async function storedSequences(
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

test("an event whose acknowledgement was lost is not stored again", async (t) => {
  const link = await openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.75);
  const host = openHost(t, link);
  freeze(server.pid);
  host.say(migrationId, guestId, 1);
  // Longer than an attempt, shorter than the connection's patience.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  process.kill(server.pid, "SIGCONT");
  host.say(migrationId, guestId, 2);
  assert.equal(await host.feed.drain(WAIT_MS), 0);
  assert.deepEqual(await storedSequences(link, migrationId), [1, 2]);
});

test("an event whose acknowledgement was lost is not stored again when JetStream has forgotten its id", async (t) => {
  const own = newFolder("forgetful");
  const other = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: own, log: silent });
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
  const host = openHost(t, link);
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
  const link = await openLink(t);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.3);
  const spool = newFolder(`feed-${guestId}`);
  const first = openHost(t, link, spool);
  for (let round = 1; round <= 500; round += 1) {
    first.say(migrationId, guestId, round);
    first.say("", guestId, round);
  }
  await until(async () => (await storedSequences(link, migrationId)).length > 20, "the first events");
  await killServer(link);
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
  const links = [await openLink(t), await openLink(t)] as const;
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.4);
  const spool = newFolder(`feed-${guestId}`);
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
  const link = await openLink(t);
  const guestId = newGuest();
  const first = openHost(t, link);
  for (let round = 1; round <= 3; round += 1) first.say("", guestId, round);
  assert.equal(await first.feed.drain(WAIT_MS), 0);
  first.feed.close();
  const second = openHost(t, link);
  second.say("", guestId, 4);
  second.say("", guestId, 5);
  assert.equal(await second.feed.drain(WAIT_MS), 0);
  assert.deepEqual(await storedSequences(link, "", guestId), [1, 2, 3, 4, 5]);
});

test("an event too large for NATS is passed over", async (t) => {
  const link = await openLink(t);
  const guestId = newGuest();
  const stream = new NatsFeedStream(link);
  const body = JSON.stringify(FeedEvent.toJSON(eventOf("" as MigrationId, guestId, 1n)));
  const subject = subjectOf({ guestId, migrationId: "" }, HA);
  const error = await rejection(
    stream.append({ subject, messageId: "large", body: body.padEnd(2_000_000) }, 0),
  );
  assert.deepEqual([error.code, error.reason], ["INVALID_ARGUMENT", "EVENT_UNSENDABLE"]);
  assert.equal(await stream.last(subject), null);
});

test("a message is stored only as the next after the one that its writer knows of", async (t) => {
  const stream = new NatsFeedStream(await openLink(t));
  const guestId = newGuest();
  const subject = subjectOf({ guestId, migrationId: "" }, HA);
  const append = (sequence: bigint, after: number) => {
    const body = JSON.stringify(FeedEvent.toJSON(eventOf("" as MigrationId, guestId, sequence)));
    return stream.append({ subject, messageId: `${guestId}:${sequence}`, body }, after);
  };
  const first = await append(1n, 0);
  assert.ok(first.t === "stored");
  assert.deepEqual(await append(2n, 0), { t: "overtaken" });
  const second = await append(2n, first.position);
  assert.ok(second.t === "stored" && second.position > first.position);
  assert.deepEqual(await append(2n, first.position), second);
  assert.deepEqual(await stream.last(subject), {
    position: second.position,
    messageId: `${guestId}:2`,
    sequence: 2n,
  });
});

/** A wire to a server whose answers can be lost. */
async function openWire(t: TestContext, serverPort: number) {
  const sockets = new Set<Socket>();
  const wire = {
    port: 0,
    answers: "passed on" as "passed on" | "lost",
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
  const listener = createServer((client) => {
    const upstream = connectSocket(serverPort, "127.0.0.1");
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        peer.destroy();
      });
    }
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => wire.answers === "passed on" && client.write(bytes));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    wire.cut();
    listener.close();
  });
  const address = listener.address();
  assert.ok(address !== null && typeof address === "object");
  wire.port = address.port;
  return wire;
}

test("a coordinator's words are stored once and its last sequence is found", async (t) => {
  const feed = new NatsPhaseFeed(await openLink(t));
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.125);
  assert.equal(await feed.lastSequence(migrationId), 0n);
  for (const sequence of [1n, 2n, 2n]) {
    await feed.publish(eventOf(migrationId, guestId, sequence), `${migrationId}:coordinator:${sequence}`);
  }
  assert.equal(await feed.lastSequence(migrationId), 2n);
});

test("coordinators that publish one migration's phases at the same time store each once and in order", async (t) => {
  const own = newFolder("phases");
  const other = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: own, log: silent });
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
  const link = await openLink(t);
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
  const host = openHost(t, link);
  for (let round = 1; round <= 20; round += 1) host.say(migrationId, guestId, round);
  await until(() => heard.includes(20), "the refused event to come again");
  await killServer(link);
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

async function isConsumed(link: NatsLink, coordinatorId: string): Promise<boolean> {
  const manager = await (await link.whenReachable(WAIT_MS)).jetstreamManager();
  const info = await manager.consumers
    .info(FEED_STREAM, `coordinator-${coordinatorId}`)
    .catch(() => undefined);
  return (info?.num_waiting ?? 0) > 0;
}

test("a hand-off reaches who waits for its guest, and nobody else", async (t) => {
  const [source, destination] = [await openLink(t), await openLink(t)];
  const [out, into] = [new NatsHandOffBus(source, silent), new NatsHandOffBus(destination, silent)];
  const guestId = newGuest();
  const handOff = HandOff.create({ guestId, fence: { epoch: 3n, revision: 1n }, runState: "running" });
  const strangers: HandOff[] = [];
  into.subscribe(newGuest(), (word) => strangers.push(word));
  const latenciesUs: number[] = [];
  for (let round = 0; round < 300; round += 1) {
    await new Promise<void>((resolve) => {
      const end = into.subscribe(guestId, (word) => {
        latenciesUs.push((performance.now() - sentMs) * 1000);
        assert.deepEqual(word, handOff);
        end();
        resolve();
      });
      let sentMs = 0;
      // The subscription must be at the server before the word is.
      void destination.connection?.flush().then(() => {
        sentMs = performance.now();
        out.publish(handOff);
      });
    });
  }
  assert.deepEqual(strangers, []);
  latenciesUs.sort((left, right) => left - right);
  const at = (share: number): string => (latenciesUs[Math.floor(latenciesUs.length * share)] ?? 0).toFixed(0);
  t.diagnostic(`hand-off over NATS, one process: p50 ${at(0.5)} us, p99 ${at(0.99)} us`);
});

test("a subscription to hand-offs outlives the server", async (t) => {
  const link = await openLink(t);
  const bus = new NatsHandOffBus(link, silent);
  const guestId = newGuest();
  let heard = 0;
  bus.subscribe(guestId, () => {
    heard += 1;
  });
  await killServer(link);
  await link.connection?.flush();
  bus.publish(HandOff.create({ guestId }));
  await until(() => heard === 1, "the word");
  bus.close();
});

test("a hand-off leaves within the turn of the event loop in which it was published", async (t) => {
  const link = await openLink(t);
  const bus = new NatsHandOffBus(link, silent);
  const before = link.connection?.stats().outBytes ?? 0;
  bus.publish(HandOff.create({ guestId: newGuest() }));
  await Promise.resolve();
  assert.ok((link.connection?.stats().outBytes ?? 0) > before, "nothing was given to the socket");
});

test("without the program the reason is one sentence", async () => {
  const error = await rejection(
    OwnNatsServer.start({
      address: "127.0.0.1",
      port: 0,
      folder: newFolder("none"),
      log: silent,
      program: "no-such-nats",
    }),
  );
  assert.equal(error.reason, "NATS_SERVER_MISSING");
  assert.match(error.message, /install nats-server, or give --nats-url\.$/);
});

test("a port that is taken is named", async (t) => {
  const occupant = createServer().listen(0, "127.0.0.1");
  await once(occupant, "listening");
  t.after(() => occupant.close());
  const address = occupant.address();
  assert.ok(address !== null && typeof address === "object");
  const error = await rejection(
    OwnNatsServer.start({
      address: "127.0.0.1",
      port: address.port,
      folder: newFolder("taken"),
      log: silent,
    }),
  );
  assert.equal(error.reason, "NATS_SERVER_FAILED");
  assert.match(error.message, new RegExp(`${address.port}.*address already in use`));
});

test("a server that a killed owner left behind makes room, and its data stay", async (t) => {
  const own = newFolder("left");
  const script = `import { OwnNatsServer } from ${JSON.stringify(new URL("../../services/nats-server/own-nats-server.js", import.meta.url).href)};
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const server = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: ${JSON.stringify(own)}, log });
    process.stdout.write(String(server.pid), () => process.kill(process.pid, "SIGKILL"));`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  owner.stdout.on("data", (part) => (printed += String(part)));
  await once(owner, "close");
  const orphan = Number(printed);
  t.after(() => isAlive(orphan) && process.kill(orphan, "SIGKILL"));
  assert.ok(isAlive(orphan));
  const successor = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: own, log: silent });
  t.after(() => successor.close());
  await until(() => !isAlive(orphan), "the orphan's end");
  assert.ok(isAlive(successor.pid));
});

test("close ends the server", async () => {
  const closing = await OwnNatsServer.start({
    address: "127.0.0.1",
    port: 0,
    folder: newFolder("close"),
    log: silent,
  });
  const { pid } = closing;
  await closing.close();
  assert.ok(!isAlive(pid));
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
