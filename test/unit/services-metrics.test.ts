/** The metrics of real programs, scraped as Prometheus does it, after a migration over real gRPC and NATS. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { spanKindToJSON } from "../../proto/gen/switchover/v1/receipt.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { skipWithout } from "../resource.ts";
import { migrateOnce, scrapeUntil, startMeteredPrograms } from "./metered-programs.ts";
import { launch, logLine, newFolder, runToEnd, terminate } from "./program-process.ts";
import { labelValues, sampleValue, scrape } from "./scrape.ts";

const CALL = { timeoutMs: 20_000 };
const PHASES = ["PENDING", "PREPARING", "TRANSFERRING", "SWITCHING_OVER", "COMPLETING"];

test("a migration is counted by the coordinator, as its receipt has it, and by both agents", {
  skip: skipWithout("natsServer"),
  timeout: 120_000,
}, async (t) => {
  const { coordinator, agents } = await startMeteredPrograms(t);
  const [source, destination] = agents;
  const migrationId = await migrateOnce({ coordinator, agents });

  const name = "switchover_coordinator_migrations_ended_total";
  const counted = await scrapeUntil(
    coordinator.metricsUrl,
    (metrics) => (metrics.get(name)?.samples.size ?? 0) > 0,
  );
  assert.equal(
    sampleValue(counted, `${name}{outcome="RUNS_ON_DESTINATION",phase="COMPLETED",reason="NONE"}`),
    1,
  );
  const { receipt } = await callUnary(coordinator.client, methods.getReceipt, { migrationId }, CALL);
  assert.ok((receipt?.spans.length ?? 0) >= 6);
  for (const { kind, durationUs } of receipt?.spans ?? []) {
    const labels = `{mode="LIVE",span="${spanKindToJSON(kind).replace("SPAN_KIND_", "")}"}`;
    const sum = sampleValue(counted, `switchover_coordinator_span_seconds_sum${labels}`);
    assert.equal(Math.round((sum ?? Number.NaN) * 1e6), Number(durationUs), labels);
  }
  for (const phase of PHASES) {
    assert.equal(sampleValue(counted, `switchover_coordinator_phases_entered_total{phase="${phase}"}`), 1);
    assert.equal(sampleValue(counted, `switchover_coordinator_open_migrations{phase="${phase}"}`), 0);
  }
  assert.equal(sampleValue(counted, "switchover_nats_reachable"), 1);
  assert.equal(sampleValue(counted, 'switchover_coordinator_info{coordinator_id="c1",version="0.1.0"}'), 1);

  const span = "switchover_agent_span_seconds";
  const [left, arrived] = await Promise.all([
    scrapeUntil(source.metricsUrl, (metrics) => (metrics.get(span)?.samples.size ?? 0) > 0),
    scrapeUntil(destination.metricsUrl, (metrics) => labelValues(metrics.get(span), "span").length === 3),
  ]);
  assert.deepEqual(labelValues(left.get(span), "span"), ["DEREGISTRATION"]);
  assert.deepEqual(labelValues(arrived.get(span), "span"), ["ANNOUNCEMENT", "REGISTRATION", "START"]);
  assert.equal(sampleValue(left, 'switchover_agent_instances{role="relinquished"}'), 1);
  assert.equal(sampleValue(arrived, 'switchover_agent_instances{role="resident"}'), 1);
  assert.equal(sampleValue(left, 'switchover_agent_info{host_id="ha",version="0.1.0"}'), 1);
  assert.equal(
    sampleValue(arrived, 'switchover_grpc_calls_total{grpc_code="OK",grpc_method="StartCpus"}'),
    1,
  );
  assert.ok((sampleValue(arrived, 'switchover_agent_netlink_seconds_count{operation="execute"}') ?? 0) > 0);

  for (const url of [coordinator.metricsUrl, source.metricsUrl, destination.metricsUrl]) {
    const text = await (await fetch(url)).text();
    for (const word of ["web", "web-ha", "web-hb", migrationId]) assert.ok(!text.includes(`"${word}"`), word);
    t.diagnostic(`${text.length} bytes, ${text.split("\n").length} lines at ${url}`);
  }
});

test("a program serves metrics where it is told to, without NATS too, and ends with a scrape's connection open", {
  timeout: 120_000,
}, async (t) => {
  const flags = [
    "--host-id",
    "hm",
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    "nats://127.0.0.1:1",
  ];
  const state = ["--state-dir", await newFolder(t), "--cpu-priority", "normal"];
  const agent = launch(t, "agent", [...flags, ...state, "--metrics-listen", "127.0.0.1:0"]);
  const { metrics_url: url } = await logLine(agent, "Metrics are served.");
  const metrics = await scrape(String(url));
  assert.equal(sampleValue(metrics, "switchover_nats_reachable"), 0);
  assert.equal(sampleValue(metrics, "switchover_agent_feed_unsent_events"), 0);
  assert.equal(await terminate(agent), 0);

  const wrong = await runToEnd(t, "agent", [...flags, ...state, "--metrics-listen", "here:1"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--metrics-listen: "here:1" is neither ADDRESS nor ADDRESS:PORT/);
  for (const program of ["agent", "coordinator"] as const) {
    const help = await runToEnd(t, program, ["--help"]);
    assert.match(help.stdout, /--metrics-listen ADDRESS:PORT\s+Where Prometheus finds \/metrics/);
  }
});
