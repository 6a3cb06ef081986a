import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { readSettings } from "../../services/config/read-settings.ts";
import type { Log } from "../../services/log/log.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { serveMetrics } from "../../services/metrics/metrics-server.ts";
import { METRICS_SETTINGS } from "../../services/metrics/metrics-settings.ts";
import { scrape } from "./scrape.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const ANYWHERE = { address: "127.0.0.1", port: 0 };

async function serve(t: TestContext, metrics = new Metrics()) {
  const server = (await serveMetrics(metrics, ANYWHERE, SILENT)) ?? assert.fail("not served");
  t.after(() => server.close());
  return server;
}

describe("the metrics' server", () => {
  it("serves what Prometheus reads, with the process's own metrics and those of its event loop", async (t) => {
    const scraped = await scrape((await serve(t)).url);
    for (const name of [
      "process_cpu_seconds_total",
      "process_open_fds",
      "nodejs_eventloop_lag_p99_seconds",
    ]) {
      assert.ok(scraped.has(name), name);
    }
  });

  it("reads only: another path is 404, another method 405, and HEAD has no body", async (t) => {
    const { url } = await serve(t);
    assert.equal((await fetch(new URL("/", url))).status, 404);
    assert.equal((await fetch(new URL("/metrics/../x", url))).status, 404);
    const posted = await fetch(url, { method: "POST", body: "x" });
    assert.deepEqual([posted.status, posted.headers.get("allow")], [405, "GET, HEAD"]);
    const head = await fetch(url, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
  });

  it("says 500 where a metric cannot be read, and serves the next scrape", async (t) => {
    const metrics = new Metrics();
    let faults = 0;
    metrics.gauge({ name: "g", help: "G." }, () => {
      if (faults-- > 0) throw new Error("not now");
      return [];
    });
    const { url } = await serve(t, metrics);
    faults = 1;
    assert.equal((await fetch(url)).status, 500);
    assert.equal((await fetch(url)).status, 200);
  });

  it("writes once for scrapes that come together", async (t) => {
    const metrics = new Metrics();
    let read = 0;
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { url } = await serve(t, metrics);
    const text = metrics.text.bind(metrics);
    metrics.text = async () => {
      read += 1;
      await held;
      return text();
    };
    const answers = [fetch(url), fetch(url)];
    while (read === 0) await turn();
    release();
    for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
    assert.equal(read, 1);
  });

  it("ends at once with a connection open, and is not reached afterwards", async (t) => {
    const server = await serve(t);
    const { port } = new URL(server.url);
    const socket = connect(Number(port), "127.0.0.1");
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    await Promise.all([server.close(), server.close()]);
    await closed;
    await assert.rejects(fetch(server.url));
  });

  it("refuses an address that somebody else has, naming it", async (t) => {
    const { port } = new URL((await serve(t)).url);
    await assert.rejects(serveMetrics(new Metrics(), { address: "127.0.0.1", port: Number(port) }, SILENT), {
      code: "UNAVAILABLE",
      reason: "CANNOT_LISTEN",
      metadata: { target: `127.0.0.1:${port}` },
    });
  });

  it("is not there unless it is asked for", async () => {
    assert.equal(await serveMetrics(new Metrics(), undefined, SILENT), undefined);
  });
});

describe("--metrics-listen", () => {
  const read = (...args: readonly string[]) => readSettings(METRICS_SETTINGS, args, {});

  it("is off by default, and takes IPv4 and IPv6 with a port, by flag or environment", () => {
    const none = read();
    assert.ok(none.t === "settings");
    assert.equal(none.values["metrics-listen"], undefined);
    for (const [text, address] of [
      ["0.0.0.0:9464", "0.0.0.0"],
      ["[::1]:9464", "::1"],
    ] as const) {
      const given = readSettings(METRICS_SETTINGS, [], { SWITCHOVER_METRICS_LISTEN: text });
      assert.ok(given.t === "settings");
      assert.deepEqual(given.values["metrics-listen"], { address, port: 9464 });
    }
  });

  it("refuses what is no address with a port", () => {
    for (const text of ["127.0.0.1", ":9464", "localhost:9464", "127.0.0.1:65536", "unix:/run/m", "9464"]) {
      const { t: kind, ...rest } = read("--metrics-listen", text);
      assert.equal(kind, "faults", text);
      assert.match(JSON.stringify(rest), /--metrics-listen: /, text);
    }
  });
});
