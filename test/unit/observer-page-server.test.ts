import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import type { Log } from "../../services/log/log.ts";
import { EventStreams, type EventStreamTimes } from "../../services/observer/http/event-streams.ts";
import { readPageFiles } from "../../services/observer/http/page-files.ts";
import { type Health, type PageServer, servePage } from "../../services/observer/http/page-server.ts";
import type { Beat, Changes } from "../../services/observer/page/wire.ts";
import { ChangeLog } from "../../services/observer/view/change-log.ts";
import { until } from "./nats-bench.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const FAST: EventStreamTimes = { gatherMs: 1, beatMs: 20, slowMs: 60_000 };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

interface Served extends PageServer {
  readonly changes: ChangeLog;
  readonly streams: EventStreams;
}

interface Serving {
  readonly instance?: string;
  readonly readersAtMost?: number;
  readonly times?: EventStreamTimes;
  readonly changes?: ChangeLog;
  readonly health?: Health;
}

async function serve(t: TestContext, serving: Serving = {}): Promise<Served> {
  const changes = serving.changes ?? new ChangeLog();
  const health = serving.health ?? { nats: "reachable", replay: "done" };
  const readersAtMost = serving.readersAtMost ?? 8;
  const streams = new EventStreams({
    changes,
    beat: (): Beat => ({ nowMs: 1, ...health, heard: [] }),
    instance: serving.instance ?? "abc",
    readersAtMost,
    times: serving.times ?? FAST,
  });
  changes.onChange(() => streams.changed());
  const server = await servePage({
    at: { address: "127.0.0.1", port: 0 },
    files: readPageFiles(),
    streams,
    readersAtMost,
    detail: () => null,
    health: () => health,
    log: SILENT,
  });
  t.after(async () => {
    streams.close();
    await server.close();
  });
  return { ...server, changes, streams };
}

/** What a page hears of a stream, as a browser's EventSource would: the last id is kept over connections. */
class Reader {
  readonly changes: Changes[] = [];
  readonly known = new Map<string, unknown>();
  lastId: string;
  beats = 0;
  readonly #leaving = new AbortController();
  readonly ended: Promise<void>;

  constructor(url: string, lastId = "", known = new Map<string, unknown>()) {
    this.lastId = lastId;
    this.known = known;
    this.ended = this.#read(url).catch(() => {});
  }

  leave(): Promise<void> {
    this.#leaving.abort();
    return this.ended;
  }

  async #read(url: string): Promise<void> {
    const response = await fetch(new URL("/events", url), {
      headers: this.lastId === "" ? {} : { "last-event-id": this.lastId },
      signal: this.#leaving.signal,
    });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    let text = "";
    for await (const part of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += part;
      const messages = text.split("\n\n");
      text = messages.pop() ?? "";
      for (const message of messages) this.#hear(message);
    }
  }

  #hear(message: string): void {
    const fields = new Map(message.split("\n").map((line) => line.split(/: (.*)/s, 2) as [string, string]));
    if (fields.get("event") === "beat") this.beats += 1;
    if (fields.get("event") !== "changes") return;
    const changes = JSON.parse(fields.get("data") ?? "") as Changes;
    if (changes.from === "start") this.known.clear();
    for (const [, id, value] of changes.changes) {
      if (value === null) this.known.delete(id);
      else this.known.set(id, value);
    }
    this.changes.push(changes);
    this.lastId = fields.get("id") ?? "";
  }
}

describe("the page's server", () => {
  it("answers the page, its files and every refusal with the strict policy", async (t) => {
    const { url } = await serve(t);
    const paths = ["", "page/main.js", "page/observer.css", "healthz", "api/migrations/x", "nothing"];
    for (const path of paths) {
      const { headers } = await fetch(url + path);
      assert.equal(headers.get("content-security-policy"), POLICY, path);
      assert.equal(headers.get("x-content-type-options"), "nosniff", path);
      assert.equal(headers.get("referrer-policy"), "no-referrer", path);
    }
    const types = await Promise.all(
      paths.slice(0, 3).map(async (path) => (await fetch(url + path)).headers.get("content-type")),
    );
    assert.deepEqual(types, [
      "text/html; charset=utf-8",
      "text/javascript; charset=utf-8",
      "text/css; charset=utf-8",
    ]);
  });

  it("has no script, style or handler within its text, and names nothing of another origin", async (t) => {
    const { url } = await serve(t);
    const html = await (await fetch(url)).text();
    assert.doesNotMatch(html, /<style|style=|\son\w+=|javascript:|https?:/i);
    assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)/i);
    for (const [name, { body }] of readPageFiles()) {
      const text = body.toString("utf8").replaceAll("http://www.w3.org/2000/svg", "");
      assert.doesNotMatch(text, /https?:\/\/|@import|url\((?!#)/, name);
      assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/, name);
    }
  });

  it("is only read: every other method is 405 everywhere, and HEAD has no body", async (t) => {
    const { url } = await serve(t);
    for (const path of ["", "events", "page/main.js", "healthz", "api/migrations/x"]) {
      for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        const { headers, status } = await fetch(url + path, { method });
        assert.deepEqual([status, headers.get("allow")], [405, "GET, HEAD"], `${method} /${path}`);
      }
      const head = await fetch(url + path, { method: "HEAD" });
      assert.equal(await head.text(), "", path);
    }
  });

  it("takes no path out of its files, none that is long, and no header that is large", async (t) => {
    const { url } = await serve(t);
    const statusOf = async (path: string, headers = {}): Promise<number | undefined> => {
      const asked = request(new URL(url), { path, headers });
      asked.end();
      const [answer] = await once(asked, "response");
      answer.resume();
      return answer.statusCode;
    };
    for (const path of [
      "/page/../settings.js",
      "/page/..%2fsettings.js",
      "/page/%2e%2e/main.js",
      "/page//etc/passwd",
      "/page/main.js.map",
      "/page/wire.d.ts",
      "/page/__proto__",
      "//",
    ]) {
      assert.equal(await statusOf(path), 404, path);
    }
    assert.equal(await statusOf(`/${"x".repeat(300)}`), 414);
    assert.equal(await statusOf("/", { "x-large": "x".repeat(9_000) }), 431);
  });

  it("sends a file once to who keeps it", async (t) => {
    const { url } = await serve(t);
    const etag = (await fetch(`${url}page/main.js`)).headers.get("etag") ?? "";
    const again = await fetch(`${url}page/main.js`, { headers: { "if-none-match": etag } });
    assert.deepEqual([again.status, await again.text()], [304, ""]);
    assert.equal(again.headers.get("content-security-policy"), POLICY);
  });

  it("is healthy while NATS is there and all of it was read", async (t) => {
    const statusOf = async (health: Health) =>
      (await fetch(`${(await serve(t, { health })).url}healthz`)).status;
    assert.equal(await statusOf({ nats: "reachable", replay: "done" }), 200);
    assert.equal(await statusOf({ nats: "away", replay: "done" }), 503);
    assert.equal(await statusOf({ nats: "reachable", replay: "under way" }), 503);
  });

  it("says whose address is taken", async (t) => {
    const { url } = await serve(t);
    const port = Number(new URL(url).port);
    const streams = new EventStreams({
      ...{ changes: new ChangeLog(), instance: "x", readersAtMost: 1 },
      beat: () => ({ nowMs: 1, nats: "away", replay: "under way", heard: [] }),
    });
    t.after(() => streams.close());
    const options = { files: new Map(), streams, readersAtMost: 1, detail: () => null, log: SILENT };
    await assert.rejects(
      servePage({
        ...options,
        at: { address: "127.0.0.1", port },
        health: () => ({ nats: "away", replay: "under way" }),
      }),
      { code: "UNAVAILABLE", reason: "CANNOT_LISTEN" },
    );
  });
});

describe("the page's stream", () => {
  it("brings all there is, then each change, and beats", async (t) => {
    const { changes, url } = await serve(t);
    changes.put("m", "a", { n: 1 });
    const reader = new Reader(url);
    await until(() => reader.known.has("a"), "what there is");
    changes.put("m", "b", { n: 2 });
    changes.put("m", "a", { n: 3 });
    await until(() => reader.known.has("b") && reader.beats > 1, "the changes and a beat");
    assert.deepEqual(
      [...reader.known],
      [
        ["a", { n: 3 }],
        ["b", { n: 2 }],
      ],
    );
    assert.deepEqual(
      reader.changes.map(({ from }) => from),
      reader.changes.map((_, index) => (index === 0 ? "start" : "after")),
    );
    await reader.leave();
  });

  it("goes on after the last id with what was missed alone, and tells what is gone", async (t) => {
    const { changes, url } = await serve(t);
    for (const id of ["a", "b", "c"]) changes.put("m", id, { id });
    const reader = new Reader(url);
    await until(() => reader.known.size === 3, "all of it");
    await reader.leave();
    changes.put("m", "d", { id: "d" });
    changes.remove("m", "a");
    const back = new Reader(url, reader.lastId, reader.known);
    await until(() => back.changes.length > 0, "what was missed");
    assert.deepEqual(back.changes[0], {
      from: "after",
      more: false,
      changes: [
        ["m", "d", { id: "d" }],
        ["m", "a", null],
      ],
    });
    assert.deepEqual([...back.known.keys()], ["b", "c", "d"]);
    await back.leave();
  });

  it("goes on after the last id of an address too, for a browser that had given up", async (t) => {
    const { changes, url } = await serve(t);
    changes.put("m", "a", {});
    const response = await fetch(`${url}events?after=abc-1`);
    const { value } = (await response.body?.getReader().read()) ?? assert.fail();
    assert.match(Buffer.from(value).toString("utf8"), /retry: 1000\n\n/);
    assert.match(Buffer.from(value).toString("utf8"), /"from":"after","more":false,"changes":\[\]/);
  });

  it("begins anew for the id of another process, or none that it can be", async (t) => {
    const { changes, url } = await serve(t);
    changes.put("m", "a", {});
    for (const id of ["other-1", "abc-99999", "abc--1", "abc-x", "💥"]) {
      const reader = new Reader(url, encodeURIComponent(id), new Map([["gone", {}]]));
      await until(() => reader.changes.length > 0, "all of it");
      assert.equal(reader.changes[0]?.from, "start", id);
      assert.deepEqual([...reader.known.keys()], ["a"], id);
      await reader.leave();
    }
  });

  it("brings thousands in slices, each a place to go on from", async (t) => {
    const { changes, url } = await serve(t);
    for (let index = 0; index < 2_300; index++) changes.put("m", `m-${index}`, { index });
    const reader = new Reader(url);
    await until(() => reader.known.size === 2_300, "all of them");
    assert.deepEqual(
      reader.changes.map(({ changes: slice, more }) => [slice.length, more]),
      [
        [500, true],
        [500, true],
        [500, true],
        [500, true],
        [300, false],
      ],
    );
    await reader.leave();
  });

  it("serves as many pages as it was told, and refuses the next until one leaves", async (t) => {
    const { streams, url } = await serve(t, { readersAtMost: 2 });
    const readers = [new Reader(url), new Reader(url)];
    await until(() => streams.readerCount === 2, "both readers");
    const refused = await fetch(`${url}events`);
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "5"]);
    await readers[0]?.leave();
    await until(() => streams.hasRoom, "room");
    const third = new Reader(url);
    await until(() => third.changes.length > 0, "the third");
    await Promise.all([readers[1]?.leave(), third.leave()]);
  });

  it("holds one message for a slow page, drops it, and loses it nothing when it comes back", async (t) => {
    const { changes, streams, url } = await serve(t, { times: { ...FAST, slowMs: 300 } });
    const large = "x".repeat(20_000);
    await askAndTakeNothing(t, url);
    const writableBytes = watchBuffers(streams);
    for (let round = 0; round < 2_000; round++) {
      changes.put("m", `m-${round % 40}`, { round, large });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => streams.readerCount === 0, "the slow page to be dropped");
    // One slice of what there is, not two thousand messages, 40 MB, of what there was.
    const held = writableBytes();
    assert.ok(held > 0 && held < 512 * 1024, `${held} bytes were held`);
    const back = new Reader(url);
    await until(() => back.known.size === 40, "all of it");
    assert.deepEqual((back.known.get("m-19") as { round: number }).round, 1_979);
    await back.leave();
  });
});

/** A page that asks and then takes nothing. */
async function askAndTakeNothing(t: TestContext, url: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(socket, "data");
  socket.pause();
}

/** The most that a response held at any time. */
function watchBuffers(streams: EventStreams): () => number {
  let most = 0;
  const timer = setInterval(() => {
    for (const held of streams.heldBytes()) most = Math.max(most, held);
  }, 5);
  timer.unref();
  return () => {
    clearInterval(timer);
    return most;
  };
}
