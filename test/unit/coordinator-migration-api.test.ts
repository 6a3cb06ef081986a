import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import {
  type Migration,
  MigrationMode,
  type MigrationSpec,
  Phase,
  type TransferParameters,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import { AGENT_CAPABILITIES } from "../../services/agent/capabilities.ts";
import { phaseName, specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;

function transferOf(change: Partial<TransferParameters>): TransferParameters {
  return {
    maxBandwidthBytesPerSecond: 0n,
    downtimeLimitMs: 0,
    multifdChannels: 0,
    autoConverge: false,
    maxPostCopyBandwidthBytesPerSecond: 0n,
    ...change,
  };
}

function labelsOf(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, "v"]));
}

describe("the migration service", () => {
  let world: World;
  let runner: MigrationRunner;
  let api: MigrationApi;
  let drawn = 7;
  /** What every agent says that it knows. */
  let capabilities: readonly string[] = [];

  function apiOf(driver: MigrationRunner): MigrationApi {
    const hosts = {
      get: async (hostId: string) =>
        hostId === "hx"
          ? null
          : { hostId, target: `${hostId}:7443`, version: "0.1.0", heartbeatAtUnixUs: 1n, capabilities },
    };
    const random = () => {
      drawn = (drawn * 16_807) % 2_147_483_647;
      return drawn / 2_147_483_647;
    };
    return new MigrationApi({
      store: world.store,
      clock: world.clock,
      random,
      hosts,
      agents: world.hosts,
      runner: driver,
      admission: OPEN_DOOR,
      draining: new DrainingHosts(),
      moveBudget: null,
    });
  }

  beforeEach(() => {
    world = new World();
    capabilities = [];
    runner = world.startRunner();
    api = apiOf(runner);
  });
  afterEach(() => world.close());

  async function start(requestId = "r1", change: Partial<MigrationSpec> = {}): Promise<Migration> {
    const { migration } = await api.startMigration({ requestId, spec: specOf(change), validateOnly: false });
    assert.ok(migration !== undefined);
    return migration;
  }

  const WRONG: readonly (readonly [string, string, Partial<MigrationSpec> | undefined, string?])[] = [
    ["no request id", "request_id", {}, ""],
    ["a request id with a space", "request_id", {}, "r 1"],
    ["a request id of 64 letters", "request_id", {}, "r".repeat(64)],
    ["no spec", "spec", undefined],
    ["no guest", "spec.guest_id", { guestId: "" }],
    ["a guest with a dot", "spec.guest_id", { guestId: "web.7" }],
    ["no source", "spec.source_host_id", { sourceHostId: "" }],
    ["no destination", "spec.destination_host_id", { destinationHostId: "" }],
    ["a source instance with a slash", "spec.source_instance_id", { sourceInstanceId: "a/1" }],
    ["a destination instance with a slash", "spec.destination_instance_id", { destinationInstanceId: "b/1" }],
    ["one host without instances", "spec.source_instance_id", { destinationHostId: "ha" }],
    [
      "one host with one instance id",
      "spec.destination_instance_id",
      { destinationHostId: "ha", sourceInstanceId: "a1" },
    ],
    [
      "one host with the same instance twice",
      "spec.destination_instance_id",
      { destinationHostId: "ha", sourceInstanceId: "a1", destinationInstanceId: "a1" },
    ],
    ["no mode", "spec.mode", { mode: MigrationMode.UNSPECIFIED }],
    [
      "a downtime limit beyond QEMU's",
      "spec.transfer.downtime_limit_ms",
      { transfer: transferOf({ downtimeLimitMs: 2_000_001 }) },
    ],
    [
      "a downtime limit that is no whole number",
      "spec.transfer.downtime_limit_ms",
      { transfer: transferOf({ downtimeLimitMs: 0.5 }) },
    ],
    ["256 channels", "spec.transfer.multifd_channels", { transfer: transferOf({ multifdChannels: 256 }) }],
    [
      "multifd in post-copy",
      "spec.transfer.multifd_channels",
      { mode: MigrationMode.POST_COPY, transfer: transferOf({ multifdChannels: 2 }) },
    ],
    [
      "a bandwidth that QEMU cannot hold",
      "spec.transfer.max_bandwidth_bytes_per_second",
      { transfer: transferOf({ maxBandwidthBytesPerSecond: 2n ** 63n }) },
    ],
    [
      "a negative post-copy bandwidth",
      "spec.transfer.max_post_copy_bandwidth_bytes_per_second",
      { transfer: transferOf({ maxPostCopyBandwidthBytesPerSecond: -1n }) },
    ],
    ["a label without a key", "spec.labels[]", { labels: { "": "x" } }],
    ["a label's key with a space", "spec.labels[a b]", { labels: { "a b": "x" } }],
    ["a label's key that ends with a dot", "spec.labels[a.]", { labels: { "a.": "x" } }],
    ["a label's key of 64 letters", `spec.labels[${"k".repeat(63)}]`, { labels: { ["k".repeat(64)]: "x" } }],
    ["a label's value of two lines", "spec.labels[a]", { labels: { a: "1\n2" } }],
    ["a label's value of 128 letters", "spec.labels[a]", { labels: { a: "v".repeat(128) } }],
    ["33 labels", "spec.labels", { labels: labelsOf(33) }],
    [
      "a switch after no pass",
      "spec.post_copy.after_passes",
      { mode: MigrationMode.POST_COPY, postCopy: { trigger: { $case: "afterPasses", value: 0 } } },
    ],
    [
      "a switch to post-copy in a live migration",
      "spec.post_copy.after_ms",
      { postCopy: { trigger: { $case: "afterMs", value: 100 } } },
    ],
  ];
  for (const [what, field, change, requestId] of WRONG) {
    it(`refuses ${what}, naming ${field}, before anything is changed`, async () => {
      const spec = change === undefined ? undefined : specOf(change);
      await assert.rejects(api.startMigration({ requestId: requestId ?? "r1", spec, validateOnly: false }), {
        code: "INVALID_ARGUMENT",
        field,
      });
      assert.equal(await world.store.get(GUEST), null);
      assert.deepEqual(world.hosts.calls, []);
    });
  }

  it("takes the largest of everything", async () => {
    const transfer = transferOf({
      maxBandwidthBytesPerSecond: 2n ** 63n - 1n,
      downtimeLimitMs: 2_000_000,
      multifdChannels: 255,
      autoConverge: true,
    });
    const migration = await start("r".repeat(63), { transfer });
    assert.deepEqual(migration.spec?.transfer, transfer);
  });

  it("takes labels as a part of the request, in whatever order they come", async () => {
    const labels = { ...labelsOf(31), "drain/of.rack-7": "v ".repeat(63) };
    const migration = await start("r1", { labels });
    assert.deepEqual(migration.spec?.labels, labels);
    const reversed = Object.fromEntries(Object.entries(labels).reverse());
    assert.equal((await start("r1", { labels: reversed })).migrationId, migration.migrationId);
    await assert.rejects(start("r1", { labels: { ...labels, k0: "w" } }), { reason: "REQUEST_REUSED" });
    await assert.rejects(start("r1"), { reason: "REQUEST_REUSED" });
  });

  it("refuses a host without an agent", async () => {
    await assert.rejects(start("r1", { destinationHostId: "hx" }), {
      code: "NOT_FOUND",
      reason: "HOST_UNKNOWN",
      field: "spec.destination_host_id",
    });
    assert.equal(await world.store.get(GUEST), null);
  });

  it("refuses a host whose agent does not know all that the mode may need, before anything is changed", async () => {
    capabilities = AGENT_CAPABILITIES.filter((name) => name !== "rpc/RecoverMigration");
    await assert.rejects(start("r1", { mode: MigrationMode.POST_COPY }), {
      code: "FAILED_PRECONDITION",
      reason: "CAPABILITY_MISSING",
      field: "spec.source_host_id",
      message: "The agent of host ha (version 0.1.0) does not know rpc/RecoverMigration.",
    });
    assert.equal(await world.store.get(GUEST), null);
    assert.equal((await start("r2")).phase, Phase.PENDING);
  });

  it("returns the migration once its claim is stored, and drives it", async () => {
    const migration = await start();
    assert.equal(migration.phase, Phase.PENDING);
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.migrationId, migration.migrationId);
    assert.equal(state.migration?.phase, Phase.COMPLETED);
  });

  it("returns the same migration for the same request: live, ended, and long ended", async () => {
    const first = await start("r1");
    assert.equal((await start("r1")).migrationId, first.migrationId);
    await world.untilArchived("web-7");
    assert.equal((await start("r1")).phase, Phase.COMPLETED);
    const second = await start("r2");
    assert.notEqual(second.migrationId, first.migrationId);
    await world.untilArchived("web-7");
    const again = await start("r1");
    assert.equal(again.migrationId, first.migrationId);
    assert.equal(again.phase, Phase.COMPLETED);
  });

  it("refuses other content under a request id, also of an earlier migration", async () => {
    await start("r1");
    const reused = { code: "ALREADY_EXISTS", reason: "REQUEST_REUSED" };
    await assert.rejects(start("r1", { mode: MigrationMode.POST_COPY }), reused);
    await world.untilArchived("web-7");
    await start("r2");
    await world.untilArchived("web-7");
    await assert.rejects(start("r1", { mode: MigrationMode.POST_COPY }), reused);
  });

  it("refuses a guest that is being migrated", async () => {
    world.hosts.moves = "when told";
    await start("r1");
    await assert.rejects(start("r2"), { code: "FAILED_PRECONDITION", reason: "GUEST_BUSY" });
  });

  it("lets one of two callers have the guest, and the other one know", async () => {
    world.hosts.moves = "when told";
    const other = apiOf(world.startRunner());
    const asked = await Promise.allSettled([
      start("r1"),
      other.startMigration({ requestId: "r2", spec: specOf(), validateOnly: false }),
    ]);
    assert.deepEqual(asked.map((answer) => answer.status).sort(), ["fulfilled", "rejected"]);
    const lost = asked.find((answer) => answer.status === "rejected");
    assert.ok(lost !== undefined);
    assert.equal((lost.reason as { readonly reason?: string }).reason, "GUEST_BUSY");
  });

  it("stores a claim once whose outcome nobody knew", async () => {
    world.store.failures.push("unknown");
    const migration = await start();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.migrationId, migration.migrationId);
  });

  it("brings an ended migration to the history before another takes its record", async () => {
    const first = await start("r1");
    await world.untilPhase("web-7", "COMPLETED");
    runner.close();
    world.store.archived.clear();
    const held = await world.store.get(GUEST);
    assert.ok(held?.record.migration !== undefined && held !== null);
    world.store.put({ ...held.record, migration: { ...held.record.migration, archived: false } });
    api = apiOf(world.startRunner());
    await start("r2");
    assert.ok(world.store.archived.has(first.migrationId));
    const revisions = world.store.commits.map((record) => record.revision);
    assert.equal(new Set(revisions).size, revisions.length);
    assert.equal(
      (await api.getMigration({ migrationId: first.migrationId })).migration?.phase,
      Phase.COMPLETED,
    );
  });

  it("tells a migration as it stands, and one that there is not", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = await start();
    await world.untilPhase("web-7", "TRANSFERRING");
    const { migration } = await api.getMigration({ migrationId });
    assert.equal(migration?.phase, Phase.TRANSFERRING);
    await assert.rejects(api.getMigration({ migrationId: "web-7-000000000000" }), {
      code: "NOT_FOUND",
      reason: "MIGRATION_UNKNOWN",
    });
    await assert.rejects(api.getMigration({ migrationId: "" }), {
      code: "INVALID_ARGUMENT",
      field: "migration_id",
    });
  });

  async function watched(
    watcher: MigrationApi,
    migrationId: string,
    signal: AbortSignal,
    afterRevision = 0n,
  ): Promise<Migration[]> {
    const seen: Migration[] = [];
    for await (const { migration } of watcher.watchMigration({ migrationId, afterRevision }, signal)) {
      if (migration !== undefined) seen.push(migration);
    }
    return seen;
  }

  it("is watched from where it stands to its end, in order, wherever it is driven", async () => {
    const { migrationId } = await start();
    const elsewhere = apiOf(world.startRunner());
    const { signal } = new AbortController();
    const watches = [watched(api, migrationId, signal), watched(elsewhere, migrationId, signal)];
    await world.untilArchived("web-7");
    for (const seen of await Promise.all(watches)) {
      assert.equal(seen.at(-1)?.phase, Phase.COMPLETED);
      const revisions = seen.map((migration) => migration.fence?.revision ?? 0n);
      assert.deepEqual(
        revisions,
        [...revisions].sort((left, right) => Number(left - right)),
      );
    }
  });

  it("is watched with its end only, once it has ended, or another took its record", async () => {
    const { migrationId } = await start("r1");
    await world.untilArchived("web-7");
    const { signal } = new AbortController();
    const phases = async () => (await watched(api, migrationId, signal)).map(({ phase }) => phaseName(phase));
    assert.deepEqual(await phases(), ["COMPLETED"]);
    await start("r2");
    assert.deepEqual(await phases(), ["COMPLETED"]);
  });

  it("is watched from a revision on: nothing twice, nothing missed, wherever it is driven", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = await start();
    await world.untilPhase("web-7", "TRANSFERRING");
    const elsewhere = apiOf(world.startRunner());
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    const { migration } = await elsewhere.getMigration({ migrationId });
    const has = migration?.fence?.revision ?? 0n;
    assert.ok(has > 1n);
    const { signal } = new AbortController();
    const watches = [api, elsewhere].map((watcher) => watched(watcher, migrationId, signal, has));
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    for (const seen of await Promise.all(watches)) {
      assert.ok(
        seen.every(({ fence }) => (fence?.revision ?? 0n) > has),
        "only what is newer",
      );
      assert.equal(seen.at(-1)?.phase, Phase.COMPLETED);
    }
  });

  it("sends the end to whoever watches after it, and waits for a revision that is not reached yet", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = await start();
    await world.untilPhase("web-7", "TRANSFERRING");
    const { signal } = new AbortController();
    const ahead = watched(api, migrationId, signal, 1_000_000n);
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    const phases = (seen: readonly Migration[]) => seen.map(({ phase }) => phaseName(phase));
    assert.deepEqual(phases(await ahead), ["COMPLETED"]);
    assert.deepEqual(phases(await watched(api, migrationId, signal, 1_000_000n)), ["COMPLETED"]);
  });

  it("gives a slow reader the newest state, and always the last", async () => {
    const { migrationId } = await start();
    const { signal } = new AbortController();
    const seen: string[] = [];
    for await (const { migration } of api.watchMigration({ migrationId, afterRevision: 0n }, signal)) {
      seen.push(phaseName(migration?.phase ?? 0));
      if (seen.length === 1) await world.untilArchived("web-7");
    }
    assert.deepEqual(seen.slice(1), ["COMPLETED"]);
  });

  it("ends a watch with the reader's signal", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = await start();
    await world.untilPhase("web-7", "TRANSFERRING");
    const reader = new AbortController();
    const watch = watched(api, migrationId, reader.signal);
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    reader.abort();
    const seen = await watch;
    assert.notEqual(seen.at(-1)?.phase, Phase.COMPLETED);
  });

  it("is watched to its end, though the store brings older states late, or another's record", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = await start("r1");
    const claimed = await world.store.get(GUEST);
    await world.untilPhase("web-7", "TRANSFERRING");
    const transferring = await world.store.get(GUEST);
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    await start("r2");
    const next = await world.store.get(GUEST);
    assert.ok(claimed !== null && transferring !== null && next !== null);
    const { store } = world;
    const answers = [transferring];
    const late = new MigrationApi({
      store: {
        get: async (guestId) => answers.pop() ?? store.get(guestId),
        create: (record) => store.create(record),
        update: (record, revision) => store.update(record, revision),
        watchAll: (signal) => store.watchAll(signal),
        watch: async function* () {
          for (const stored of [transferring, claimed, next]) {
            yield stored;
            await nextTurn();
          }
        },
        keys: () => store.keys(),
        archive: (state) => store.archive(state),
        readArchived: (id) => store.readArchived(id),
      },
      hosts: { get: async () => null },
      agents: world.hosts,
      clock: world.clock,
      random: () => 0.5,
      runner: world.startRunner(),
      admission: OPEN_DOOR,
      draining: new DrainingHosts(),
      moveBudget: null,
    });
    const seen = await watched(late, migrationId, new AbortController().signal);
    assert.deepEqual(
      seen.map(({ phase }) => phaseName(phase)),
      ["TRANSFERRING", "COMPLETED"],
    );
  });

  it("refuses to watch a migration that there is not", async () => {
    const { signal } = new AbortController();
    await assert.rejects(watched(api, "web-7-000000000000", signal), { code: "NOT_FOUND" });
  });
});
