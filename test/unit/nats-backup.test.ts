import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { migrationIdOf } from "../../proto/ids.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { backup, restore } from "../../services/switchoverctl/backup.ts";
import type { RestoreValues } from "../../services/switchoverctl/backup-settings.ts";
import { natsBench, newGuest, rejection, silent, WAIT_MS } from "./nats-bench.ts";
import { newFolder } from "./program-process.ts";

const nats = natsBench();

async function openEmpty(t: TestContext, folder: string): Promise<NatsLink> {
  const server = await nats.startServer(folder);
  const link = NatsLink.open({ url: server.url, name: folder, log: silent });
  t.after(async () => {
    await link.close();
    await server.close();
  });
  await link.whenReachable(WAIT_MS);
  return link;
}

function valuesOf(change: Partial<RestoreValues> = {}): RestoreValues {
  const off = "off" as const;
  const switches = { "into-existing": off, "dry-run": off, yes: "on" as const, json: off };
  return { ...switches, "nats-url": "", "nats-replicas": 1, ...change };
}

test("records and history are backed up from one NATS and restored to an empty one", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  const guests = Array.from({ length: 5 }, () => newGuest());
  for (const [index, guestId] of guests.entries()) {
    await store.create(GuestRecord.create({ guestId, epoch: BigInt(index), revision: 2n }));
  }
  const ids = guests.map((guestId) => migrationIdOf(guestId, 1_795_456_900_000, 0.5));
  for (const migrationId of ids) {
    await store.archive(MigrationState.create({ migration: { migrationId }, archived: true }));
  }
  const kv = await link.connection?.jetstream().views.kv("switchover_guests", { bindOnly: true });
  await kv?.put("broken", "{");
  const file = join(await newFolder(t), "backup");
  let said = "";
  const screen = { write: (text: string) => (said += text) };
  const values = { "nats-url": "", json: "on" } as const;
  assert.equal(await backup(values, file, link, screen), 0);
  assert.deepEqual(JSON.parse(said), {
    file,
    guests: 5,
    migrations: 5,
    leftOut: ["switchover_guests/broken"],
  });
  await kv?.purge("broken");

  const empty = await openEmpty(t, "empty");
  const asked: string[] = [];
  const ports = { link: empty, screen, confirm: async (text: string) => asked.push(text) < 0 };
  said = "";
  assert.equal(await restore(valuesOf({ "dry-run": "on" }), file, ports), 0);
  assert.match(said, /is whole: 5 guests and 5 ended migrations\.\n10 of these records would be written/);
  const manager = await empty.connection?.jetstreamManager();
  assert.deepEqual((await manager?.streams.list().next())?.length, 0, "a trial makes nothing");
  const unconfirmed = await rejection(restore(valuesOf({ yes: "off" }), file, ports));
  assert.equal(unconfirmed.reason, "NOT_CONFIRMED");
  assert.match(asked[0] ?? "", /10 of these records would be written/);
  assert.deepEqual((await manager?.streams.list().next())?.length, 0, "nor what was not confirmed");

  assert.equal(await restore(valuesOf(), file, ports), 0);
  const restored = new NatsGuestRecordStore(empty);
  for (const guestId of guests) {
    assert.deepEqual((await restored.get(guestId))?.record, (await store.get(guestId))?.record);
  }
  for (const id of ids) assert.deepEqual(await restored.readArchived(id), await store.readArchived(id));
});

test("a NATS that holds records is left alone unless told, and what is newer there stays", async (t) => {
  const link = await nats.openLink(t);
  const store = new NatsGuestRecordStore(link);
  const [gone, newer] = [newGuest(), newGuest()];
  await store.create(GuestRecord.create({ guestId: gone, epoch: 1n }));
  const stored = await store.create(GuestRecord.create({ guestId: newer, epoch: 1n }));
  const file = join(await newFolder(t), "backup");
  let said = "";
  const ports = { link, screen: { write: (text: string) => (said += text) }, confirm: async () => true };
  await backup({ "nats-url": "", json: "on" }, file, link, ports.screen);
  await store.update(GuestRecord.create({ guestId: newer, epoch: 2n }), stored.revision);
  const kv = await link.connection?.jetstream().views.kv("switchover_guests", { bindOnly: true });
  await kv?.delete(gone);
  assert.equal((await rejection(restore(valuesOf(), file, ports))).reason, "NATS_NOT_EMPTY");
  assert.equal(await store.get(gone), null);
  said = "";
  assert.equal(await restore(valuesOf({ "into-existing": "on", json: "on" }), file, ports), 0);
  const counts = JSON.parse(said) as { readonly restored: number };
  assert.equal(counts.restored, 1);
  assert.equal((await store.get(gone))?.record.epoch, 1n);
  assert.equal((await store.get(newer))?.record.epoch, 2n);
});
