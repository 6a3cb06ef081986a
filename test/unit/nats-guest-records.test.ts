import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, migrationIdOf } from "../../proto/ids.ts";
import { GUEST_BUCKET } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { freeze } from "./freeze.ts";
import { natsBench, newGuest, rejection, silent, until } from "./nats-bench.ts";

const nats = natsBench();

function recordOf(guestId: GuestId, revision: bigint): GuestRecord {
  return GuestRecord.create({ guestId, epoch: 2n ** 63n, revision });
}

test("a record is created, read and changed by compare-and-set", async (t) => {
  const store = new NatsGuestRecordStore(await nats.openLink(t));
  const guestId = newGuest();
  assert.equal(await store.get(guestId), null);
  const created = await store.create(recordOf(guestId, 1n));
  assert.deepEqual(await store.get(guestId), created);
  const updated = await store.update(recordOf(guestId, 2n), created.revision);
  assert.ok(updated.revision > created.revision);
  assert.deepEqual(await store.get(guestId), updated);
});

test("of two writers one wins and the other learns of the conflict", async (t) => {
  const link = await nats.openLink(t);
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
  const link = await nats.openLink(t);
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
  await nats.killServer(link);
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
  const link = await nats.openLink(t);
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
  const store = new NatsGuestRecordStore(await nats.openLink(t));
  const guests = [newGuest(), newGuest()];
  for (const guestId of guests) await store.create(recordOf(guestId, 1n));
  const listed = new Set<GuestId>();
  for await (const guestId of store.keys()) listed.add(guestId);
  assert.ok(guests.every((guestId) => listed.has(guestId)));
});

test("an ended migration is archived, again without harm", async (t) => {
  const store = new NatsGuestRecordStore(await nats.openLink(t));
  const migrationId = migrationIdOf(newGuest(), Date.now(), 0.5);
  assert.equal(await store.readArchived(migrationId), null);
  const state = MigrationState.create({ migration: { migrationId }, heardSequences: { ha: 3n } });
  await store.archive(state);
  await store.archive(state);
  assert.deepEqual(await store.readArchived(migrationId), state);
});

test("a write to a silent server has an unknown outcome after a second", async (t) => {
  const store = new NatsGuestRecordStore(await nats.openLink(t));
  const guestId = newGuest();
  const { revision } = await store.create(recordOf(guestId, 1n));
  freeze(nats.server.pid);
  const startMs = performance.now();
  const error = await rejection(store.update(recordOf(guestId, 2n), revision)).finally(() =>
    process.kill(nats.server.pid, "SIGCONT"),
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
