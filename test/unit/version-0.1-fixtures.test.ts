/** What the version before wrote, as it wrote it, is read by this one: records, history, heartbeats and the feed. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { InventoryApi } from "../../coordinator/inventory-api.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import { decodeGuestRecord, decodeMigrationState } from "../../coordinator/record/record-codec.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Outcome, Phase, type TransferParameters } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationFilter } from "../../proto/gen/switchover/v1/migration_service.ts";
import { SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import { GuestRecord, HostRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const FOLDER = new URL("../../../test/unit/fixtures/version-0.1/", import.meta.url);

function fixture(name: string): Promise<string> {
  return readFile(new URL(name, FOLDER), "utf8");
}

async function recordIn(name: string): Promise<GuestRecord> {
  return decodeGuestRecord(Buffer.from(await fixture(name)));
}

/** What the version before was asked for. */
const TRANSFER: TransferParameters = {
  maxBandwidthBytesPerSecond: 500_000_000n,
  downtimeLimitMs: 100,
  multifdChannels: 0,
  autoConverge: true,
  maxPostCopyBandwidthBytesPerSecond: 0n,
};
const REQUEST = { requestId: "r1", spec: specOf({ transfer: TRANSFER }), validateOnly: false };

function apiOf(world: World, hostRecord: HostRecord): MigrationApi {
  const { store, clock, hosts: agents } = world;
  // The number that the version before drew, so that the migration gets the id of the fixture.
  const ports = {
    store,
    clock,
    agents,
    random: () => 0.125,
    runner: world.startRunner(),
    admission: OPEN_DOOR,
    draining: new DrainingHosts(),
    moveBudget: null,
  };
  return new MigrationApi({ ...ports, hosts: { get: async () => hostRecord } });
}

test("records, history, heartbeats and events are read without losing a word", async () => {
  const same = (text: string, decoded: unknown) => assert.deepEqual(JSON.parse(text), decoded);
  for (const name of ["guest-record-transferring.json", "guest-record-ended.json"]) {
    same(await fixture(name), GuestRecord.toJSON(await recordIn(name)));
  }
  const ended = await fixture("ended-migration.json");
  same(ended, MigrationState.toJSON(decodeMigrationState(Buffer.from(ended))));
  const host = await fixture("host-record.json");
  same(host, HostRecord.toJSON(HostRecord.fromJSON(JSON.parse(host))));
  const lines = (await fixture("feed.jsonl")).trimEnd().split("\n");
  assert.equal(lines.length, 18);
  for (const line of lines) {
    const event = FeedEvent.fromJSON(JSON.parse(line));
    assert.notEqual(event.event, undefined, line);
    same(line, FeedEvent.toJSON(event));
  }
});

test("a migration that the version before began is brought to its end, by agents that say nothing of themselves", async (t) => {
  const world = new World();
  t.after(() => world.close());
  world.hosts.moves = "when told";
  const hostRecord = HostRecord.fromJSON(JSON.parse(await fixture("host-record.json")));
  // Brings the pretended agents to where those of the version before were.
  const { migration } = await apiOf(world, hostRecord).startMigration(REQUEST);
  await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
  world.close();
  const record = await recordIn("guest-record-transferring.json");
  assert.equal(migration?.migrationId, record.migration?.migration?.migrationId);
  world.store.put(record);
  const runner = world.startRunner();
  assert.equal(await runner.resume(), 1);
  world.hosts.moveCpus();
  const { migration: ended } = await world.untilArchived("web-7");
  assert.deepEqual([ended?.phase, ended?.outcome], [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION]);
});

test("a migration that the version before ended is found by its request, listed, and has a receipt", async (t) => {
  const world = new World();
  t.after(() => world.close());
  const record = await recordIn("guest-record-ended.json");
  world.store.put(record);
  const { migration } = await apiOf(world, HostRecord.create({})).startMigration(REQUEST);
  assert.equal(migration?.migrationId, record.migration?.migration?.migrationId);
  const archived = decodeMigrationState(Buffer.from(await fixture("ended-migration.json")));
  const inventory = new InventoryApi({
    catalogue: {
      records: async function* () {},
      archivedIds: async function* () {
        yield "web-7-mwtkoihs4i00" as never;
      },
      readArchived: async () => archived,
    },
    hosts: { hosts: () => assert.fail(), host: () => assert.fail() },
    store: world.store,
    admission: OPEN_DOOR,
    clock: world.clock,
  });
  const filter = MigrationFilter.create({ hostId: "hb", phases: [Phase.COMPLETED] });
  const { migrations } = await inventory.listMigrations({ filter, pageSize: 0, pageToken: "" });
  assert.deepEqual(migrations, [archived.migration]);
  const { receipt } = await inventory.getReceipt({ migrationId: "web-7-mwtkoihs4i00" });
  assert.equal(receipt?.outcome, Outcome.RUNS_ON_DESTINATION);
  assert.ok(receipt.spans.some(({ kind }) => kind === SpanKind.BLACKOUT));
});
