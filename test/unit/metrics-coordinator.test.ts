import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import type { RecordStore } from "../../coordinator/record/record-store.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { CoordinatorMetrics } from "../../services/coordinator/coordinator-metrics.ts";
import { meteredFencing, meteredStore } from "../../services/coordinator/metered-ports.ts";
import { meterAgentCalls } from "../../services/metrics/meter-calls.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";
import { labelValues, parseMetrics, type Scraped, sampleValue } from "./scrape.ts";

const GUEST = "web-7" as GuestId;
const HOST = "hb" as HostId;
const MIGRATION = "web-7-mk3v0q8ya1z9" as MigrationId;
const ENDED = "switchover_coordinator_migrations_ended_total";

describe("a coordinator's metrics", () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.close());

  function claim(): GuestRecord {
    const request = { requestId: "r1", guestId: GUEST, spec: specOf({}) };
    const claimed = claimGuest(null, request, BigInt(world.clock.unixUs()), 0.5);
    assert.ok(claimed.t === "claimed");
    return claimed.record;
  }

  function start(...metered: readonly Metrics[]): void {
    const stored = world.store.put(claim());
    for (const metrics of metered) {
      world.startRunner({}, undefined, { meter: new CoordinatorMetrics(metrics) }).take(stored);
    }
  }

  function sum(all: readonly ReadonlyMap<string, Scraped>[], sample: string): number {
    return all.reduce((count, one) => count + (sampleValue(one, sample) ?? 0), 0);
  }

  it("count an ended migration once among two coordinators that drive it, with its spans and phases", async () => {
    const metered = [new Metrics(), new Metrics()];
    start(...metered);
    await world.untilArchived(GUEST);
    const all = await Promise.all(metered.map(async (metrics) => parseMetrics(await metrics.text())));
    const ended = `${ENDED}{outcome="RUNS_ON_DESTINATION",phase="COMPLETED",reason="NONE"}`;
    assert.equal(sum(all, ended), 1);
    for (const span of ["BLACKOUT", "DEREGISTRATION", "HAND_OFF", "REGISTRATION", "START", "ADDED"]) {
      const count = `switchover_coordinator_span_seconds_count{mode="LIVE",span="${span}"}`;
      assert.equal(sum(all, count), 1, span);
    }
    for (const phase of ["PENDING", "PREPARING", "TRANSFERRING", "SWITCHING_OVER", "COMPLETING"]) {
      assert.equal(sum(all, `switchover_coordinator_phase_seconds_count{phase="${phase}"}`), 1, phase);
      assert.ok(sum(all, `switchover_coordinator_phases_entered_total{phase="${phase}"}`) >= 1, phase);
    }
    assert.ok(sum(all, "switchover_coordinator_phase_lag_seconds_count") >= 6);
  });

  it("have the reason of a migration that failed", async () => {
    const metrics = new Metrics();
    world.hosts.refuses.set("hb", [{ reason: "MAC_TAKEN", sentence: "Another has it.", field: "" }]);
    start(metrics);
    await world.untilArchived(GUEST);
    const scraped = parseMetrics(await metrics.text());
    assert.deepEqual(labelValues(scraped.get(ENDED), "outcome"), ["RUNS_ON_SOURCE"]);
    assert.deepEqual(labelValues(scraped.get(ENDED), "phase"), ["FAILED"]);
    assert.deepEqual(labelValues(scraped.get(ENDED), "reason"), ["MAC_TAKEN"]);
  });

  it("have the store's time and refusals by operation, and change nothing of its answers", async () => {
    const metrics = new Metrics();
    const store: RecordStore = meteredStore(world.store, metrics);
    const { revision } = await store.create(claim());
    assert.equal((await store.get(GUEST))?.revision, revision);
    await assert.rejects(store.create(claim()), { reason: "REVISION_CONFLICT" });
    const scraped = parseMetrics(await metrics.text());
    const count = (operation: string) =>
      sampleValue(scraped, `switchover_coordinator_store_seconds_count{operation="${operation}"}`);
    assert.deepEqual([count("get"), count("create"), count("update")], [1, 2, 0]);
    const failed =
      'switchover_coordinator_store_failures_total{operation="create",reason="REVISION_CONFLICT"}';
    assert.equal(sampleValue(scraped, failed), 1);
  });

  it("have what came of fencing: dead, or why nobody knows", async () => {
    const metrics = new Metrics();
    const fencing = meteredFencing(world.fencing, metrics);
    await fencing.fence(HOST, MIGRATION);
    world.fencing.failures.push(
      new SwitchoverError("FAILED_PRECONDITION", "It ended with 1.", { reason: "FENCE_COMMAND_FAILED" }),
    );
    await assert.rejects(fencing.fence(HOST, MIGRATION), { reason: "FENCE_COMMAND_FAILED" });
    const scraped = parseMetrics(await metrics.text());
    for (const result of ["DEAD", "FENCE_COMMAND_FAILED"]) {
      assert.equal(sampleValue(scraped, `switchover_coordinator_fencings_total{result="${result}"}`), 1);
    }
    assert.equal(sampleValue(scraped, "switchover_coordinator_fencing_seconds_count"), 2);
  });

  it("have calls of agents by method, and those that failed by reason", async () => {
    const metrics = new Metrics();
    const clock = meterAgentCalls(metrics);
    assert.equal(await clock.time("ArmSource", async () => "armed"), "armed");
    const gone = new SwitchoverError("UNAVAILABLE", "Nobody is there.", { reason: "HOST_UNKNOWN" });
    await assert.rejects(
      clock.time("ArmSource", () => Promise.reject(gone)),
      gone,
    );
    const scraped = parseMetrics(await metrics.text());
    const name = "switchover_coordinator_agent_call";
    assert.equal(sampleValue(scraped, `${name}_seconds_count{grpc_method="ArmSource"}`), 2);
    const failed = `${name}_failures_total{grpc_method="ArmSource",reason="HOST_UNKNOWN"}`;
    assert.equal(sampleValue(scraped, failed), 1);
  });
});
