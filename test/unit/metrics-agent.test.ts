import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { GuestFeedEvent } from "../../agent/guest/guest-operation.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RouteResult } from "../../agent/netlink/route-port.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { AgentMetrics, meterCensus } from "../../services/agent/agent-metrics.ts";
import { MeteredRoute } from "../../services/agent/metered-route.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { MIGRATION, residentGuest } from "./guest-gate.ts";
import { labelValues, parseMetrics, sampleValue } from "./scrape.ts";

const WEB = residentGuest("running");
const DB = { ...residentGuest("running"), instanceId: "other" as typeof WEB.instanceId };

function drifted(reason: string, noticedAtUnixUs: bigint): GuestFeedEvent {
  return { $case: "registrationDrifted", value: { reason, sentence: "It is gone.", noticedAtUnixUs } };
}

function mended(mendedAtUnixUs: bigint): GuestFeedEvent {
  return { $case: "registrationMended", value: { mendedAtUnixUs } };
}

describe("an agent's metrics", () => {
  let metrics: Metrics;
  let meter: AgentMetrics;
  beforeEach(() => {
    metrics = new Metrics();
    meter = new AgentMetrics(metrics, { hostId: "ha", version: "1" });
  });
  const scraped = async () => parseMetrics(await metrics.text());

  it("have the time from a stop to its deregistration, of the stop that came last", async () => {
    const stopped = (receivedAtUnixUs: bigint): GuestFeedEvent => ({
      $case: "cpusStopped",
      value: { stoppedAtUnixUs: receivedAtUnixUs - 50n, receivedAtUnixUs },
    });
    const gone = (deregisteredAtUnixUs: bigint): GuestFeedEvent => ({
      $case: "nicsDeregistered",
      value: { deregisteredAtUnixUs },
    });
    for (const [event, at] of [
      [stopped(1_000n), 1_000],
      [stopped(5_000n), 5_000],
      [gone(5_400n), 5_400],
      [stopped(9_000n), 9_000],
      [gone(9_600n), 9_600],
    ] as const) {
      meter.said(WEB, event, at);
    }
    const now = await scraped();
    const name = "switchover_agent_span_seconds";
    assert.deepEqual(labelValues(now.get(name), "span"), ["DEREGISTRATION"]);
    assert.equal(sampleValue(now, `${name}_count{span="DEREGISTRATION"}`), 2);
    assert.equal(sampleValue(now, `${name}_sum{span="DEREGISTRATION"}`)?.toFixed(6), "0.001000");
  });

  it("have what a destination took, each span once, and the way that the word came", async () => {
    const events: readonly GuestFeedEvent[] = [
      { $case: "handOffReceived", value: { handOff: undefined, route: HandOffRoute.GRPC } },
      { $case: "destinationReady", value: { runState: "paused", readyAtUnixUs: 1_200n } },
      { $case: "nicsRegistered", value: { registeredAtUnixUs: 1_300n, registrationSentAtUnixUs: 1_250n } },
      { $case: "cpusStarted", value: { contSentAtUnixUs: 1_700n, resumedAtUnixUs: 1_900n } },
      ...[1, 2].map(
        (round): GuestFeedEvent => ({
          $case: "announced",
          value: { round, announcedAtUnixUs: 2_000n, firstFrames: [] },
        }),
      ),
    ];
    for (const event of events) meter.said(WEB, event, 1_000);
    const now = await scraped();
    const took = (span: string) => [
      sampleValue(now, `switchover_agent_span_seconds_count{span="${span}"}`),
      Math.round((sampleValue(now, `switchover_agent_span_seconds_sum{span="${span}"}`) ?? 0) * 1e6),
    ];
    assert.deepEqual(took("REGISTRATION"), [1, 300]);
    assert.deepEqual(took("START"), [1, 500]);
    assert.deepEqual(took("ANNOUNCEMENT"), [1, 100]);
    assert.equal(sampleValue(now, 'switchover_agent_hand_offs_received_total{route="GRPC"}'), 1);
    assert.equal(sampleValue(now, 'switchover_agent_events_total{event="announced"}'), 2);
  });

  it("have drift by its reason, found and mended, and how long that took, for each guest by itself", async () => {
    meter.said(WEB, drifted("ENTRY_MISSING", 1_000n), 1_000);
    meter.said(DB, drifted("PORT_DOWN", 2_000n), 2_000);
    meter.said(WEB, mended(3_000n), 3_000);
    const now = await scraped();
    const count = (what: string, reason: string) =>
      sampleValue(now, `switchover_agent_drifts_${what}_total{reason="${reason}"}`);
    assert.deepEqual([count("found", "ENTRY_MISSING"), count("mended", "ENTRY_MISSING")], [1, 1]);
    assert.deepEqual([count("found", "PORT_DOWN"), count("mended", "PORT_DOWN")], [1, undefined]);
    assert.equal(sampleValue(now, "switchover_agent_mending_seconds_sum"), 0.002);
  });

  it("have alarms by reason, and of no guest and no migration a word", async () => {
    const value = { reason: "RAN_WITHOUT_RIGHT", sentence: "It ran.", metadata: {} };
    meter.said({ ...WEB, guestId: "secret-guest" as typeof WEB.guestId }, { $case: "alarmRaised", value }, 1);
    const now = await scraped();
    assert.equal(sampleValue(now, 'switchover_agent_alarms_total{reason="RAN_WITHOUT_RIGHT"}'), 1);
    const text = await metrics.text();
    for (const word of ["secret-guest", String(WEB.instanceId), MIGRATION])
      assert.ok(!text.includes(`"${word}"`));
  });

  it("have instances by role, zeros too, and the spool's depth and age", async () => {
    const roles = new Map([["incoming", 2]] as const);
    const census = { roles: () => roles, unsentEvents: () => 7, oldestUnsentUnixUs: () => 4_000_000 };
    meterCensus(metrics, census, () => 6_500_000);
    const now = await scraped();
    assert.equal(sampleValue(now, 'switchover_agent_instances{role="incoming"}'), 2);
    assert.equal(sampleValue(now, 'switchover_agent_instances{role="forgotten"}'), 0);
    assert.equal(sampleValue(now, "switchover_agent_feed_unsent_events"), 7);
    assert.equal(sampleValue(now, "switchover_agent_feed_oldest_unsent_seconds"), 2.5);
  });

  it("have the kernel's time by operation, where it throws too, and refusals by errno", async () => {
    const results: RouteResult[] = [
      { ok: true, messages: [] },
      { ok: false, errno: 16, name: "EBUSY", text: "" },
    ];
    const route = new MeteredRoute(
      {
        execute: () => results,
        ready: () => {},
        dump: () => {
          throw new Error("interrupted");
        },
        close: () => {},
      },
      metrics,
    );
    assert.equal(route.execute(encodeBatch([])), results);
    assert.throws(() => route.dump({ table: "links" } as never), /interrupted/);
    const now = await scraped();
    for (const operation of ["execute", "dump"]) {
      assert.equal(sampleValue(now, `switchover_agent_netlink_seconds_count{operation="${operation}"}`), 1);
    }
    assert.equal(sampleValue(now, 'switchover_agent_netlink_refusals_total{errno="EBUSY"}'), 1);
  });
});
