import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "nats";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";
import { HOST_BUCKET } from "../../proto/subjects.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsHostCatalogue } from "../../services/nats/host-catalogue.ts";
import { HostRegistry, startHeartbeat } from "../../services/nats/host-registry.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { HA, natsBench, silent, until } from "./nats-bench.ts";

const nats = natsBench();

test("a host is known from its first heartbeat on and gone after its lifetime", async (t) => {
  const other = await nats.startServer("expiry");
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

test("the hosts that live are listed with what they say of themselves and when that was stored", async (t) => {
  const link = await nats.openLink(t);
  const catalogue = new NatsHostCatalogue(link);
  const record = HostRecord.create({ hostId: HA, target: "10.0.0.1:7443", capabilities: ["rpc/ArmSource"] });
  const beforeMs = Date.now();
  const end = startHeartbeat(link, silent, () => record);
  t.after(end);
  await until(async () => (await catalogue.host(HA)) !== null, "the heartbeat");
  const kv = await link.connection?.jetstream().views.kv(HOST_BUCKET, { bindOnly: true });
  await kv?.put("hb", "{");
  const registry = new HostRegistry(link, silent);
  t.after(() => registry.close());
  const twice = [await registry.get(HA), await registry.get(HA)].map((one) => one?.capabilities);
  assert.deepEqual(twice[0], record.capabilities);
  assert.equal(twice[0], twice[1], "one list for all that say the same");
  const listed = [];
  for await (const host of catalogue.hosts()) listed.push(host);
  assert.deepEqual(
    listed.map((host) => host.record),
    [record],
  );
  const [host] = listed;
  // Both clocks are this machine's; NATS cuts what it says to milliseconds or less.
  assert.ok(
    host !== undefined && host.storedAtUnixMs >= beforeMs - 1 && host.storedAtUnixMs <= Date.now() + 1,
  );
  assert.equal(Math.floor((await catalogue.host(HA))?.storedAtUnixMs ?? 0), Math.floor(host.storedAtUnixMs));
  assert.equal(await catalogue.host("hb" as HostId), null);
  assert.equal(await catalogue.host("hx" as HostId), null);
});
