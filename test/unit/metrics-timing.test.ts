import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelWords } from "../../services/metrics/label-words.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { LONG_BUCKETS_S, SWITCHOVER_BUCKETS_S, Timing } from "../../services/metrics/timing.ts";
import { labelValues, parseMetrics, sampleValue } from "./scrape.ts";

describe("a timing", () => {
  it("resolves 50 us to 30 s, in ascending steps of less than three times", () => {
    assert.equal(SWITCHOVER_BUCKETS_S[0], 0.000_05);
    assert.equal(SWITCHOVER_BUCKETS_S.at(-1), 30);
    for (const [index, bound] of SWITCHOVER_BUCKETS_S.entries()) {
      const before = SWITCHOVER_BUCKETS_S[index - 1] ?? bound / 2;
      assert.ok(bound > before && bound / before <= 3, `${before} to ${bound}`);
    }
    assert.deepEqual(
      LONG_BUCKETS_S,
      [...LONG_BUCKETS_S].sort((left, right) => left - right),
    );
  });

  it("counts a duration under the first bound that it does not exceed, and one beyond all of them", () => {
    const timing = new Timing([0.001, 0.01]);
    for (const seconds of [0.001, 0.0011, 0.01, 7]) timing.record(seconds);
    assert.deepEqual(timing.cumulated(), [1, 3, 4]);
    assert.equal(timing.sumS, 0.001 + 0.0011 + 0.01 + 7);
  });

  it("counts what a clock that was set back made negative, and takes nothing from the sum for it", () => {
    const timing = new Timing([0.001]);
    timing.record(-5);
    assert.deepEqual([timing.cumulated(), timing.sumS], [[1, 1], 0]);
  });

  it("times work that fails, and lets its failure through", async () => {
    const timing = new Timing([30]);
    await assert.rejects(
      timing.time(() => Promise.reject(new Error("no"))),
      /^Error: no$/,
    );
    assert.equal(await timing.time(async () => 4), 4);
    assert.deepEqual(timing.cumulated(), [2, 2]);
  });
});

describe("the words of a label", () => {
  it("are words of the contract: an empty text is NONE, and what is no word OTHER", () => {
    const words = new LabelWords();
    const texts = ["VMM_BUSY", "nicsRegistered", "", "web 7", "a".repeat(65), 'x"} 1\n'];
    assert.deepEqual(
      texts.map((text) => words.admit(text)),
      ["VMM_BUSY", "nicsRegistered", "NONE", "OTHER", "OTHER", "OTHER"],
    );
  });

  it("are 128 at most, however many come", async () => {
    const metrics = new Metrics();
    const tally = metrics.tally({ name: "t_total", help: "T.", labels: ["reason"] });
    const timing = metrics.timing({ name: "t_seconds", help: "T.", labels: ["reason"] });
    for (let index = 0; index < 1_000; index += 1) {
      tally.count(`REASON_${index}`);
      timing.at(`REASON_${index}`).record(1);
    }
    const scraped = parseMetrics(await metrics.text());
    for (const name of ["t_total", "t_seconds"]) {
      assert.equal(labelValues(scraped.get(name), "reason").length, 129, name);
    }
    assert.equal(sampleValue(scraped, 't_total{reason="OTHER"}'), 872);
    assert.equal(sampleValue(scraped, 't_seconds_count{reason="OTHER"}'), 872);
  });
});

describe("metrics as text", () => {
  it("have timings as Prometheus histograms, from zero on where they have no labels", async () => {
    const metrics = new Metrics();
    const labelled = metrics.timing({ name: "a_seconds", help: "A.", labels: ["span", "mode"] }, [0.001, 1]);
    metrics.timing({ name: "b_seconds", help: "B." }, [1]);
    labelled.at("START", "LIVE").record(0.5);
    assert.equal(labelled.at("START", "LIVE"), labelled.at("START", "LIVE"));
    assert.equal(
      await metrics.text(),
      [
        "# HELP a_seconds A.",
        "# TYPE a_seconds histogram",
        'a_seconds_bucket{span="START",mode="LIVE",le="0.001"} 0',
        'a_seconds_bucket{span="START",mode="LIVE",le="1"} 1',
        'a_seconds_bucket{span="START",mode="LIVE",le="+Inf"} 1',
        'a_seconds_sum{span="START",mode="LIVE"} 0.5',
        'a_seconds_count{span="START",mode="LIVE"} 1',
        "",
        "# HELP b_seconds B.",
        "# TYPE b_seconds histogram",
        'b_seconds_bucket{le="1"} 0',
        'b_seconds_bucket{le="+Inf"} 0',
        "b_seconds_sum 0",
        "b_seconds_count 0",
        "",
      ].join("\n"),
    );
  });

  it("have of a gauge what there is now, and nothing of what is gone", async () => {
    const metrics = new Metrics();
    let roles = ["resident", "vacant"];
    metrics.gauge({ name: "g", help: "G.", labels: ["role"] }, () =>
      roles.map((role) => ({ texts: [role], value: 1 })),
    );
    const rolesIn = async () => labelValues(parseMetrics(await metrics.text()).get("g"), "role");
    assert.deepEqual(await rolesIn(), ["resident", "vacant"]);
    roles = ["fenced"];
    assert.deepEqual(await rolesIn(), ["fenced"]);
  });

  it("are written with turns of the event loop between the metrics, so that a switchover does not wait", async () => {
    const metrics = new Metrics();
    const order: string[] = [];
    for (const name of ["a", "b"]) {
      metrics.gauge({ name, help: "X." }, () => {
        order.push(name);
        setImmediate(() => order.push(`after ${name}`));
        return [];
      });
    }
    await metrics.text();
    assert.deepEqual(order, ["a", "after a", "b", "after b"]);
  });
});
