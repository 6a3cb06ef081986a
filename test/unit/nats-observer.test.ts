import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "nats";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { GUEST_BUCKET, HISTORY_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { type FollowedNats, followNats } from "../../services/observer/follow-nats.ts";
import type { MigrationRow } from "../../services/observer/page/wire.ts";
import { ObserverView } from "../../services/observer/view/observer-view.ts";
import { findFreePorts } from "../fleet/free-ports.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { runToReady } from "../observer/nats-server.ts";
import { toldMigration } from "../observer/told-migration.ts";
import { ToldNats } from "../observer/told-nats.ts";
import { natsBench, silent, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const ENOUGH = { migrations: 1_000, events: 10_000 };
const NOW_MS = Date.now();

interface Following {
  readonly view: ObserverView;
  readonly followed: FollowedNats;
}

function follow(t: TestContext, link: NatsLink, amounts = ENOUGH): Following {
  const view = new ObserverView({ migrations: 1_000, ageMs: 86_400_000 }, NOW_MS);
  const followed = followNats(link, view, silent, amounts);
  t.after(() => followed.close());
  return { view, followed };
}

function rowsOf(view: ObserverView): ReadonlyMap<string, MigrationRow> {
  const changes = view.changes.after(0, 100_000).changes.map((text) => JSON.parse(text));
  return new Map(
    changes.filter(([kind]) => kind === "m").map(([, , row]) => [row.guest as string, row as MigrationRow]),
  );
}

const cpusStarted = (at = 1n) => ({
  $case: "cpusStarted" as const,
  value: { contSentAtUnixUs: 0n, resumedAtUnixUs: at },
});

test("all that NATS keeps is read, then what comes, across the death of nats-server", async (t) => {
  const link = await nats.openLink(t);
  const told = new ToldNats(await link.whenReachable(WAIT_MS));
  await told.history(
    [0, 1, 2].map((n) => toldMigration({ guest: `old-${n}`, atUnixMs: NOW_MS - 1_000 - n })),
  );
  await told.record(toldMigration({ guest: "live", atUnixMs: NOW_MS, phase: Phase.PREPARING, revision: 2n }));
  await told.heartbeat("ha");
  await told.event({ guestId: "live", hostId: "ha", sequence: 1n, event: cpusStarted() });
  const { followed, view } = follow(t, link);
  await until(() => followed.replay === "done", "the replay");
  assert.deepEqual([...rowsOf(view).keys()].sort(), ["live", "old-0", "old-1", "old-2"]);
  assert.equal(view.heard(10)[0]?.[0], "ha");
  assert.ok(view.changes.after(0, 100).changes.some((change) => change.startsWith('["g","live"')));

  await told.record(
    toldMigration({ guest: "live", atUnixMs: NOW_MS, phase: Phase.TRANSFERRING, revision: 3n }),
  );
  await until(() => rowsOf(view).get("live")?.phase === "transferring", "the next phase");

  await nats.killServer(link);
  await told.history([toldMigration({ guest: "old-3", atUnixMs: NOW_MS - 2_000 })]);
  await told.record(toldMigration({ guest: "live", atUnixMs: NOW_MS, revision: 9n }));
  await told.event({ guestId: "later", hostId: "ha", sequence: 1n, event: cpusStarted() });
  await until(
    () => rowsOf(view).get("live")?.phase === "completed" && rowsOf(view).has("old-3"),
    "what came after",
  );
  await until(
    () => view.changes.after(0, 100).changes.some((change) => change.startsWith('["g","later"')),
    "the feed's next event",
  );
});

test("it begins with the newest ended migrations, as many as are kept", async (t) => {
  const link = await nats.openLink(t);
  const told = new ToldNats(await link.whenReachable(WAIT_MS));
  const states = Array.from({ length: 300 }, (_, n) =>
    toldMigration({ guest: `many-${n}`, atUnixMs: NOW_MS - 300 + n }),
  );
  for (const state of states) await told.history([state]);
  const { followed, view } = follow(t, link, { migrations: 100, events: 10 });
  await until(() => followed.replay === "done", "the replay");
  const guests = [...rowsOf(view).keys()].filter((guest) => guest.startsWith("many-"));
  assert.equal(guests.length, 100);
  assert.ok(guests.includes("many-299") && !guests.includes("many-199"));
});

test("what no coordinator wrote is passed over, and the rest is read", async (t) => {
  const link = await nats.openLink(t);
  const connection = await link.whenReachable(WAIT_MS);
  const stream = connection.jetstream();
  for (const [subject, body] of [
    [`$KV.${GUEST_BUCKET}.broken`, "{"],
    [`$KV.${HISTORY_BUCKET}.broken`, "[]"],
    [`$KV.${HOST_BUCKET}.broken`, "null"],
    ["switchover.v1.feed.guest-x.host.hx", '{"guestId": 7, "event'],
  ] as const) {
    await stream.publish(subject, body);
  }
  await new ToldNats(connection).record(toldMigration({ guest: "whole", atUnixMs: NOW_MS }));
  const { followed, view } = follow(t, link);
  await until(() => followed.replay === "done", "the replay");
  assert.ok(rowsOf(view).has("whole"));
});

test("an observer that was there before any coordinator reads what that makes", async (t) => {
  const server = await nats.startServer("no-streams-yet");
  t.after(() => server.close());
  const link = NatsLink.open({ url: server.url, name: t.name, log: silent });
  t.after(() => link.close());
  const connection = await link.whenReachable(WAIT_MS);
  const { followed, view } = follow(t, link);
  assert.equal(followed.replay, "under way");
  await ensureStores(connection, 1);
  await until(() => followed.replay === "done", "the streams");
  await new ToldNats(connection).record(toldMigration({ guest: "first", atUnixMs: NOW_MS }));
  await until(() => rowsOf(view).has("first"), "the first record");
});

test("a user that may only read is enough, and leaves no consumer behind", async (t) => {
  const permissions = readFileSync(
    join(repositoryRoot(), "deploy", "nats", "observer-permissions.conf"),
    "utf8",
  );
  const [port = 0] = await findFreePorts(1);
  const folder = nats.newFolder("read-only");
  await runToReady(t, folder, [
    `listen: "127.0.0.1:${port}"`,
    `jetstream: { store_dir: "${folder}" }`,
    "authorization: { users: [",
    '  { user: coordinator, password: "c" }',
    `  { user: observer, password: "o", permissions: { ${permissions} } }`,
    "] }",
    "no_auth_user: observer",
  ]);
  const owner = await connect({ servers: `nats://127.0.0.1:${port}`, user: "coordinator", pass: "c" });
  t.after(() => owner.close());
  await ensureStores(owner, 1);
  const told = new ToldNats(owner);
  await told.record(toldMigration({ guest: "web", atUnixMs: NOW_MS }));
  await told.heartbeat("ha");

  const url = `nats://127.0.0.1:${port}`;
  const link = NatsLink.open({ url, name: t.name, log: silent });
  const { followed, view } = follow(t, link);
  await until(() => followed.replay === "done", "the replay");
  await told.history([toldMigration({ guest: "old", atUnixMs: NOW_MS - 5_000 })]);
  await told.event({ guestId: "web", hostId: "hb", sequence: 1n, event: cpusStarted() });
  await until(() => rowsOf(view).has("old"), "an ended migration");
  assert.deepEqual([...rowsOf(view).keys()].sort(), ["old", "web"]);

  const reader = await connect({ servers: url });
  t.after(() => reader.close());
  for (const subject of [
    `$KV.${GUEST_BUCKET}.web`,
    "switchover.v1.feed.x.coordinator",
    "switchover.v1.handoff.web",
  ]) {
    await assert.rejects(reader.request(subject, "x", { timeout: 1_000 }), subject);
  }
  const kept = await owner.jetstream().views.kv(GUEST_BUCKET, { bindOnly: true });
  assert.equal((await kept.get("web"))?.revision, 1);

  await followed.close();
  await link.close();
  const manager = await owner.jetstreamManager();
  await until(async () => {
    let consumers = 0;
    for (const stream of [
      "SWITCHOVER_FEED",
      `KV_${GUEST_BUCKET}`,
      `KV_${HISTORY_BUCKET}`,
      `KV_${HOST_BUCKET}`,
    ]) {
      consumers += (await manager.streams.info(stream)).state.consumer_count;
    }
    return consumers === 0;
  }, "its consumers to end by themselves");
});
