/** The observer as an operator runs it. Needs node and nats-server only. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./nats-bench.ts";
import { launch, logLine, newFolder, runToEnd, terminate } from "./program-process.ts";

const LISTENS = "The observer listens.";

test("an observer beside a coordinator is healthy, and ends in time with pages open", async (t) => {
  const folder = await newFolder(t);
  const coordinator = launch(t, "coordinator", [
    ...["--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0"],
    ...["--data-dir", join(folder, "coordinator")],
  ]);
  const { nats_url: natsUrl } = await logLine(coordinator, "The coordinator listens.");
  const observer = launch(t, "observer", ["--listen", "127.0.0.1:0", "--nats-url", String(natsUrl)]);
  const { url } = await logLine(observer, LISTENS);
  const health = () => fetch(`${url}healthz`);
  await until(async () => (await health()).status === 200, "the observer to be healthy");
  assert.deepEqual(await (await health()).json(), { nats: "reachable", replay: "done" });
  const stream = await fetch(`${url}events`);
  const ended = stream.text().catch(() => "cut");
  assert.equal(await terminate(observer), 0);
  assert.equal(typeof (await ended), "string");
  assert.equal(await terminate(coordinator), 0);
});

test("an observer serves its page while NATS is away, and says so", async (t) => {
  const observer = launch(t, "observer", ["--listen", "127.0.0.1:0", "--nats-url", "nats://127.0.0.1:1"]);
  const { url } = await logLine(observer, LISTENS);
  assert.equal((await fetch(String(url))).status, 200);
  const health = await fetch(`${url}healthz`);
  assert.deepEqual([health.status, await health.json()], [503, { nats: "away", replay: "under way" }]);
  assert.equal(await terminate(observer), 0);
});

test("an observer tells all that is wrong with its configuration, and what is in effect", async (t) => {
  const wrong = await runToEnd(t, "observer", [
    ...["--listen", "nowhere", "--keep-migrations", "7", "--nats-url", "http://x"],
    ...["--metrics-listen", "127.0.0.1:0"],
  ]);
  assert.equal(wrong.code, 2);
  for (const name of ["--listen", "--keep-migrations", "--nats-url", "--metrics-listen"]) {
    assert.ok(wrong.stderr.includes(name), name);
  }
  const checked = await runToEnd(t, "observer", [
    ...["--check-config", "--listen", "[::1]:7480", "--nats-url", "nats://me:secret@10.0.0.1:4222"],
  ]);
  assert.equal(checked.code, 0);
  const { listen, "nats-url": natsUrl } = JSON.parse(checked.stdout) as Record<string, unknown>;
  assert.deepEqual(listen, { address: "::1", port: 7480 });
  assert.equal(natsUrl, "nats://***@10.0.0.1:4222");
  const help = await runToEnd(t, "observer", ["--help"]);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /Examples:\n {2}switchover-observer\n/);
});

test("an observer whose address is taken ends with 1 and says where", async (t) => {
  const first = launch(t, "observer", ["--listen", "127.0.0.1:0", "--nats-url", "nats://127.0.0.1:1"]);
  const { url } = await logLine(first, LISTENS);
  const second = await runToEnd(t, "observer", ["--listen", new URL(String(url)).host]);
  assert.equal(second.code, 1);
  assert.match(second.stderr, /The page cannot be served at 127\.0\.0\.1:\d+/);
});
