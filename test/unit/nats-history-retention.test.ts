import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { connect, type NatsConnection, nanos } from "nats";
import { MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, migrationIdOf } from "../../proto/ids.ts";
import { HISTORY_BUCKET } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { natsBench, silent, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const DAY_MS = 86_400_000;

async function openServer(
  t: TestContext,
  folder: string,
): Promise<{ connection: NatsConnection; url: string }> {
  const server = await nats.startServer(folder);
  const connection = await connect({ servers: server.url });
  t.after(async () => {
    await connection.close();
    await server.close();
  });
  return { connection, url: server.url };
}

async function limitsOf(connection: NatsConnection): Promise<readonly unknown[]> {
  const manager = await connection.jetstreamManager();
  const { config } = await manager.streams.info(`KV_${HISTORY_BUCKET}`);
  return [config.max_age, config.max_msgs, config.discard];
}

test("a new history keeps 30 days and 100,000 migrations, and one that is there stays as it is", async (t) => {
  const { connection } = await openServer(t, "defaults");
  await ensureStores(connection, 1);
  assert.deepEqual(await limitsOf(connection), [nanos(30 * DAY_MS), 100_000, "old"]);
  await ensureStores(connection, 1, { days: 7, migrations: undefined });
  assert.deepEqual(await limitsOf(connection), [nanos(7 * DAY_MS), 100_000, "old"]);
  await ensureStores(connection, 1, { days: undefined, migrations: 500 });
  await ensureStores(connection, 1);
  assert.deepEqual(await limitsOf(connection), [nanos(7 * DAY_MS), 500, "old"]);
});

test("a history that an older version made, without a number, is limited where it is told so", async (t) => {
  const { connection } = await openServer(t, "older");
  await connection.jetstream().views.kv(HISTORY_BUCKET, { ttl: 30 * DAY_MS, history: 1 });
  const before = await limitsOf(connection);
  await ensureStores(connection, 1);
  assert.deepEqual(await limitsOf(connection), before);
  await ensureStores(connection, 1, { days: undefined, migrations: 200 });
  assert.deepEqual(await limitsOf(connection), [nanos(30 * DAY_MS), 200, "old"]);
});

test("beyond its number the oldest ended migrations go, beyond its age all do", async (t) => {
  const { connection, url } = await openServer(t, "full");
  await ensureStores(connection, 1, { days: undefined, migrations: 3 });
  const link = NatsLink.open({ url, name: "full", log: silent });
  t.after(() => link.close());
  await link.whenReachable(WAIT_MS);
  const store = new NatsGuestRecordStore(link);
  const ids = [0, 1, 2, 3, 4].map((index) =>
    migrationIdOf("web-7" as GuestId, 1_795_456_900_000 + index, 0.5),
  );
  const archive = (migrationId: string) =>
    store.archive(MigrationState.create({ migration: { migrationId } }));
  for (const id of ids) await archive(id);
  // Archived again, it counts once.
  await archive(ids[4] ?? "");
  const kept = async () =>
    (await Promise.all(ids.map((id) => store.readArchived(id)))).map((one) => one !== null);
  assert.deepEqual(await kept(), [false, false, true, true, true]);
  const manager = await connection.jetstreamManager();
  const { config } = await manager.streams.info(`KV_${HISTORY_BUCKET}`);
  // A day is too long for a test; what NATS does with the age is the same.
  await manager.streams.update(`KV_${HISTORY_BUCKET}`, {
    ...config,
    max_age: nanos(200),
    duplicate_window: nanos(200),
  });
  await until(async () => (await kept()).every((one) => !one), "the history to be too old");
});
