/** What documents, alerts and dashboard say of metrics, against what real programs expose. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { HostAgentServiceService as agentMethods } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { skipWithout } from "../resource.ts";
import { migrateOnce, scrapeUntil, startMeteredPrograms } from "./metered-programs.ts";
import { alertRules, dashboardQueries } from "./metrics-queries.ts";
import { labelNames, type Scraped, scrape } from "./scrape.ts";

type Section = "Agent" | "Coordinator" | "Both";

interface Documented {
  readonly type: string;
  readonly labels: readonly string[];
}

const CALL = { timeoutMs: 20_000 };
const ROW = /^\| `(switchover_[a-z_]+)` +\| (\w+) +\| ([\w, ]*?) *\|/;

function read(...path: readonly string[]): string {
  return readFileSync(join(repositoryRoot(), ...path), "utf8");
}

/** The tables of docs/metrics.md. */
function documented(): ReadonlyMap<Section, ReadonlyMap<string, Documented>> {
  const sections = read("docs", "metrics.md").split(/^## /m);
  return new Map(
    sections.slice(1).map((text) => {
      const [title = "", ...lines] = text.split("\n");
      const rows = lines.flatMap((line) => {
        const [, name, type = "", labels = ""] = ROW.exec(line) ?? [];
        const words = labels === "" ? [] : labels.split(", ");
        return name === undefined ? [] : [[name, { type, labels: words.sort() }] as const];
      });
      return [title as Section, new Map(rows)];
    }),
  );
}

function ours(metrics: ReadonlyMap<string, Scraped>): ReadonlyMap<string, Scraped> {
  return new Map([...metrics].filter(([name]) => name.startsWith("switchover_")));
}

/** The metrics that a query names, without what histograms add to their names. */
function named(query: string): readonly string[] {
  return [...query.matchAll(/\b(?:switchover|process|nodejs)_[a-z0-9_]+/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, ""),
  );
}

test("documents, alerts and dashboard name the metrics that the programs expose, and no others", {
  skip: skipWithout("natsServer"),
  timeout: 120_000,
}, async (t) => {
  const programs = await startMeteredPrograms(t);
  const { coordinator, agents } = programs;
  // So that labels are there to be compared.
  await migrateOnce(programs);
  const unknown = { migrationId: "web-mk3v0q8ya1z9" };
  await assert.rejects(callUnary(coordinator.client, methods.getMigration, unknown, CALL));
  await assert.rejects(callUnary(agents[1].client, agentMethods.getGuest, { guestId: "nobody" }, CALL));
  const ended = "switchover_coordinator_migrations_ended_total";
  const scraped = await Promise.all([
    scrapeUntil(coordinator.metricsUrl, (metrics) => (metrics.get(ended)?.samples.size ?? 0) > 0),
    scrape(agents[1].metricsUrl),
  ]);
  const [ofCoordinator = new Map(), ofAgent = new Map()] = scraped;
  const exposed = new Map<string, Scraped>([...ofCoordinator, ...ofAgent]);
  const docs = documented();
  const both = docs.get("Both") ?? new Map<string, Documented>();

  await t.test("docs/metrics.md lists each metric of each program, with its type and labels", () => {
    for (const [section, metrics] of [
      ["Agent", ofAgent],
      ["Coordinator", ofCoordinator],
    ] as const) {
      const listed = new Map([...(docs.get(section) ?? []), ...both]);
      assert.deepEqual([...listed.keys()].sort(), [...ours(metrics).keys()].sort(), section);
      for (const [name, metric] of ours(metrics)) {
        assert.equal(listed.get(name)?.type, metric.type, name);
        assert.ok(metric.help.endsWith("."), `${name}: ${metric.help}`);
        if (metric.samples.size > 0) assert.deepEqual(listed.get(name)?.labels, labelNames(metric), name);
      }
    }
  });

  await t.test("names are in base units, and counters end in _total", () => {
    for (const [name, { type }] of ours(exposed)) {
      assert.equal(name.endsWith("_total"), type === "counter", name);
      if (type === "histogram") assert.match(name, /_seconds$/);
      assert.doesNotMatch(name, /_(ms|us|millis|micros|kb|mb)(_|$)/, name);
    }
  });

  await t.test("alerts and dashboard ask for nothing that is not there", () => {
    const queries = [...alertRules().map(({ expr }) => expr), ...dashboardQueries()];
    const unknown = queries.flatMap(named).filter((name) => !exposed.has(name));
    assert.deepEqual([...new Set(unknown)], []);
  });

  await t.test(
    "the dashboard shows every metric, and lets no label be asked for that a metric does not have",
    () => {
      const shown = new Set(dashboardQueries().flatMap(named));
      assert.deepEqual(
        [...ours(exposed).keys()].filter((name) => !shown.has(name)),
        [],
      );
      const all = new Map([...docs.values()].flatMap((section) => [...section]));
      const queries = [...alertRules().map(({ expr }) => expr), ...dashboardQueries()];
      for (const query of queries) {
        for (const [, name = "", matchers = ""] of query.matchAll(/(switchover_\w+)\{([^}]*)\}/g)) {
          const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!=|!~|=)/g)].map(([, label]) => label);
          const known = [...(all.get(named(name)[0] ?? "")?.labels ?? []), "instance"];
          for (const label of labels) assert.ok(known.includes(label ?? ""), `${label} in ${query}`);
        }
      }
    },
  );
});
