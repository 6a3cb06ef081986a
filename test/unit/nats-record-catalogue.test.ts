import assert from "node:assert/strict";
import { test } from "node:test";
import type { KV } from "nats";
import { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type GuestId, migrationIdOf } from "../../proto/ids.ts";
import { GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { NatsRecordCatalogue } from "../../services/nats/record-catalogue.ts";
import { natsBench, newGuest, rejection, silent } from "./nats-bench.ts";

const nats = natsBench();

async function bucket(link: NatsLink, name: string): Promise<KV> {
  assert.ok(link.connection !== undefined);
  return link.connection.jetstream().views.kv(name, { bindOnly: true });
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

/** A few at a time: each of them has a second on a busy machine. */
async function createAll(
  store: NatsGuestRecordStore,
  guests: readonly GuestId[],
  epoch: bigint,
): Promise<void> {
  for (let from = 0; from < guests.length; from += 100) {
    const some = guests.slice(from, from + 100);
    await Promise.all(some.map((guestId) => store.create(GuestRecord.create({ guestId, epoch }))));
  }
}

test("empty buckets are read through at once", async (t) => {
  const catalogue = new NatsRecordCatalogue(await nats.openLink(t));
  assert.deepEqual(await collect(catalogue.records(null)), []);
  assert.deepEqual(await collect(catalogue.archivedIds()), []);
});

test("all records are read, over several pulls, without those that are deleted or unreadable", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  const guests = Array.from({ length: 1_200 }, () => newGuest());
  await createAll(store, guests, 7n);
  const kv = await bucket(link, GUEST_BUCKET);
  const [deleted, purged, broken] = guests;
  assert.ok(deleted !== undefined && purged !== undefined && broken !== undefined);
  await kv.delete(deleted);
  await kv.purge(purged);
  await kv.put(broken, "{");
  const catalogue = new NatsRecordCatalogue(link);
  const read = await collect(catalogue.records(null));
  assert.deepEqual(read.map(({ guestId }) => guestId).sort(), guests.slice(3).sort());
  assert.ok(read.every(({ epoch }) => epoch === 7n));
  const one = guests[5] as GuestId;
  assert.deepEqual(
    (await collect(catalogue.records(one))).map(({ guestId }) => guestId),
    [one],
  );
});

test("a record that is written while all are read is among them", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  const guests = Array.from({ length: 1_100 }, () => newGuest());
  await createAll(store, guests, 1n);
  const last = guests.at(-1) as GuestId;
  const seen = new Set<string>();
  for await (const { guestId, epoch } of new NatsRecordCatalogue(link).records(null)) {
    // The first one read finds the last one rewritten: its old message is gone from the stream.
    if (seen.size === 0) {
      const stored = await store.get(last);
      await store.update(GuestRecord.create({ guestId: last, epoch: 2n }), stored?.revision ?? 0);
    }
    if (guestId === last) assert.equal(epoch, 2n);
    seen.add(guestId);
  }
  assert.ok(guests.every((guestId) => seen.has(guestId)));
});

test("the history's ids are read without their content, and each content by its id", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  const ids = Array.from({ length: 300 }, (_, index) =>
    migrationIdOf(newGuest(), 1_795_456_900_000, index / 300),
  );
  await Promise.all(
    ids.map((migrationId) => store.archive(MigrationState.create({ migration: { migrationId } }))),
  );
  const [gone, broken, whole] = ids;
  assert.ok(gone !== undefined && broken !== undefined && whole !== undefined);
  const kv = await bucket(link, HISTORY_BUCKET);
  await kv.delete(gone);
  await kv.put(broken, "[]");
  const catalogue = new NatsRecordCatalogue(link);
  assert.deepEqual((await collect(catalogue.archivedIds())).sort(), ids.slice(1).sort());
  assert.equal(await catalogue.readArchived(gone), null);
  assert.equal((await catalogue.readArchived(whole))?.migration?.migrationId, whole);
});

test("a pass leaves no consumer behind, also where its reader leaves early", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  await Promise.all(
    Array.from({ length: 3 }, () => store.create(GuestRecord.create({ guestId: newGuest() }))),
  );
  for await (const _ of new NatsRecordCatalogue(link).records(null)) break;
  const manager = await link.connection?.jetstreamManager();
  const { state } = (await manager?.streams.info(`KV_${GUEST_BUCKET}`)) ?? assert.fail();
  assert.equal(state.consumer_count, 0);
});

test("a pass over a NATS that was never reached is UNAVAILABLE at once", async (t) => {
  const link = NatsLink.open({ url: "nats://127.0.0.1:1", name: "nobody", log: silent });
  t.after(() => link.close());
  const catalogue = new NatsRecordCatalogue(link);
  assert.equal((await rejection(collect(catalogue.records(null)))).reason, "NATS_UNREACHABLE");
});
