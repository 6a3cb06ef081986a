/** Alerts and the dashboard's queries, by promtool. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { PROMTOOL, skipWithout } from "../resource.ts";
import { alertRules, dashboardQueries, PROMETHEUS_FOLDER } from "./metrics-queries.ts";

interface AlertTests {
  readonly tests: readonly {
    readonly alert_rule_test: readonly {
      readonly alertname: string;
      readonly exp_alerts?: readonly unknown[];
    }[];
  }[];
}

/** What promtool says; rejects with that where something is wrong. */
async function promtool(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(PROMTOOL, args, { cwd: PROMETHEUS_FOLDER });
  return stdout;
}

describe("the alerts", () => {
  it("are rules that Prometheus takes, with the example of its configuration", {
    skip: skipWithout("promtool"),
  }, async () => {
    assert.match(await promtool("check", "rules", "alerts.yaml"), /SUCCESS: \d+ rules found/);
    assert.match(await promtool("check", "config", "prometheus.yaml"), /SUCCESS/);
  });

  it("are raised where alerts-test.yaml says so, and nowhere else", {
    skip: skipWithout("promtool"),
  }, async () => {
    assert.match(await promtool("test", "rules", "alerts-test.yaml"), /SUCCESS/);
  });

  it("are each seen raised, and each seen quiet", () => {
    const text = readFileSync(join(PROMETHEUS_FOLDER, "alerts-test.yaml"), "utf8");
    const tried = (parse(text) as AlertTests).tests.flatMap(({ alert_rule_test: tests }) => tests);
    const names = alertRules().map(({ alert }) => alert);
    const those = (isRaised: boolean) =>
      new Set(
        tried
          .filter(({ exp_alerts: alerts = [] }) => alerts.length > 0 === isRaised)
          .map(({ alertname }) => alertname),
      );
    assert.deepEqual([...those(true)].sort(), [...names].sort());
    assert.deepEqual([...those(false)].sort(), [...names].sort());
  });

  it("say how grave they are, what it is and what to do", () => {
    for (const { alert, labels, annotations } of alertRules()) {
      assert.match(labels.severity ?? "", /^(critical|warning)$/, alert);
      assert.match(annotations.summary ?? "", /\.$/, alert);
      assert.match(annotations.description ?? "", /\.$/, alert);
    }
  });
});

describe("the dashboard", () => {
  it("asks what Prometheus understands", { skip: skipWithout("promtool") }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "switchover-dashboard-"));
    try {
      // Grafana's own words, in its place.
      const plain = (query: string) => query.replaceAll("$__rate_interval", "5m").replaceAll("$agent", ".*");
      const rules = dashboardQueries().map((query, index) => ({ record: `q:${index}`, expr: plain(query) }));
      const path = join(folder, "dashboard.yaml");
      await writeFile(path, JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
      assert.match(await promtool("check", "rules", path), new RegExp(`${rules.length} rules found`));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
