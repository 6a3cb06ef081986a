import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import type { Client, UntypedServiceImplementation } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import {
  GetMigrationResponse,
  MigrationServiceService as methods,
  WatchMigrationResponse,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { CallLane } from "../../services/grpc/call-lane.ts";
import type { CallMeter } from "../../services/grpc/call-meter.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import type { CallLimits } from "../../services/grpc/limits.ts";
import { startGrpcServer } from "../../services/grpc/server.ts";
import { callServerStream, serveServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary, serveUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { meterCalls } from "../../services/metrics/meter-calls.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PLAIN } from "../plain-text.ts";
import { OwnersHost } from "./external-owner.ts";
import { labelValues, parseMetrics, sampleValue } from "./scrape.ts";

const SERVICE = "switchover.v1.MigrationService";
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const REQUEST = { migrationId: "x" };

describe("a lane of calls", () => {
  it("begins them in their order, and refuses those beyond its bounds with the time to wait", () => {
    const lane = new CallLane("/s/M", { running: 1, waiting: 2 });
    const begun: string[] = [];
    for (const name of ["a", "b", "c"]) lane.enter(() => begun.push(name));
    assert.throws(() => lane.enter(() => begun.push("d")), {
      code: "RESOURCE_EXHAUSTED",
      reason: "OVERLOADED",
      retryAfterMs: 1_000,
    });
    assert.deepEqual(begun, ["a"]);
    lane.leave();
    lane.leave();
    assert.deepEqual(begun, ["a", "b", "c"]);
    lane.leave();
    lane.enter(() => begun.push("e"));
    assert.deepEqual(begun, ["a", "b", "c", "e"]);
  });

  it("never begins one that was taken out while it waited, and has room for another then", () => {
    const lane = new CallLane("/s/M", { running: 1, waiting: 1 });
    const begun: string[] = [];
    lane.enter(() => begun.push("a"));
    const withdraw = lane.enter(() => begun.push("b"));
    withdraw();
    withdraw();
    lane.enter(() => begun.push("c"));
    lane.leave();
    assert.deepEqual(begun, ["a", "c"]);
  });
});

/** Calls that stand until they are let go, and events that tests await. */
class HeldCalls {
  readonly begun: string[] = [];
  readonly #held = new Map<string, () => void>();
  #wake: () => void = () => {};

  handle(name: string): Promise<void> {
    this.begun.push(name);
    this.#wake();
    return new Promise((resolve) => this.#held.set(name, resolve));
  }

  letGo(name: string): void {
    this.#held.get(name)?.();
  }

  async untilBegun(count: number): Promise<void> {
    while (this.begun.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function openWire(t: TestContext, calls: HeldCalls, limits: CallLimits, meter?: CallMeter) {
  const warnings: string[] = [];
  const log: Log = { ...SILENT, warn: (_, sentence) => warnings.push(sentence) };
  const ending = new AbortController();
  const others = Object.keys(methods).map((name) => [
    name,
    serveUnary(name, log, () => assert.fail("not asked for here")),
  ]);
  const implementation: UntypedServiceImplementation = {
    ...Object.fromEntries(others),
    getMigration: serveUnary("GetMigration", log, async ({ migrationId }: typeof REQUEST) => {
      await calls.handle(migrationId);
      return GetMigrationResponse.create({});
    }),
    cancelMigration: serveUnary("CancelMigration", log, async () => ({ migration: undefined })),
    watchMigration: serveServerStream(
      "WatchMigration",
      log,
      ending.signal,
      async function* ({ migrationId }: typeof REQUEST, { signal }) {
        yield WatchMigrationResponse.create({});
        await Promise.race([calls.handle(migrationId), once(signal, "abort")]);
        if (signal.aborted) void calls.handle(`${migrationId} aborted`);
      },
    ),
  };
  const service = { name: SERVICE, definition: methods, implementation, limits };
  const metered = meter === undefined ? {} : { meter };
  const server = await startGrpcServer({
    security: PLAINTEXT,
    targets: ["127.0.0.1:0"],
    services: [service],
    log,
    ...metered,
  });
  t.after(() => server.close(100));
  const open = (target = server.targets[0] ?? ""): Client => {
    const client = openChannel(target, { ...PLAIN, retriedServices: [] });
    t.after(() => client.close());
    return client;
  };
  return { open, warnings, target: server.targets[0] ?? "" };
}

function get(
  client: Client,
  migrationId: string,
  options: { timeoutMs?: number; signal?: AbortSignal } = {},
) {
  return callUnary(client, methods.getMigration, { migrationId }, { timeoutMs: 20_000, ...options });
}

async function refusal(call: Promise<unknown>): Promise<SwitchoverError> {
  return call.then(
    () => assert.fail("It was not refused."),
    (thrown) => SwitchoverError.from(thrown),
  );
}

describe("a service under more calls than it takes", () => {
  const limits = { running: 2, waiting: 1, streams: 1 };

  it("refuses the next one with RetryInfo before it began, and other methods' calls not at all", async (t) => {
    const calls = new HeldCalls();
    const { open, warnings } = await openWire(t, calls, limits);
    const client = open();
    const taken = [get(client, "a"), get(client, "b"), get(client, "c")];
    await calls.untilBegun(2);
    const { code, reason, retryAfterMs, metadata } = await refusal(get(client, "d"));
    assert.deepEqual([code, reason, retryAfterMs], ["RESOURCE_EXHAUSTED", "OVERLOADED", 1_000]);
    assert.equal(metadata.method, `/${SERVICE}/GetMigration`);
    assert.equal(warnings.length, 1);
    await callUnary(client, methods.cancelMigration, REQUEST, { timeoutMs: 5_000 });
    calls.letGo("a");
    await calls.untilBegun(3);
    calls.letGo("b");
    calls.letGo("c");
    await Promise.all(taken);
    assert.deepEqual(calls.begun, ["a", "b", "c"]);
    const after = get(client, "e");
    await calls.untilBegun(4);
    calls.letGo("e");
    await after;
  });

  it("tells its meter of every call as its caller saw it end, and what runs and waits now", async (t) => {
    const calls = new HeldCalls();
    const metrics = new Metrics();
    const { open } = await openWire(t, calls, limits, meterCalls(metrics));
    const client = open();
    const running = [get(client, "a"), get(client, "b")];
    await calls.untilBegun(2);
    const leaving = new AbortController();
    const left = refusal(get(client, "left", { signal: leaving.signal }));
    await callUnary(client, methods.cancelMigration, REQUEST, { timeoutMs: 20_000 });
    await refusal(get(client, "too many"));
    const during = parseMetrics(await metrics.text());
    const laneNow = (state: string) =>
      sampleValue(during, `switchover_grpc_${state}_calls{grpc_method="GetMigration"}`);
    assert.deepEqual([laneNow("running"), laneNow("waiting")], [2, 1]);
    leaving.abort();
    await left;
    const stream = new AbortController();
    const watch = (migrationId: string, signal?: AbortSignal) =>
      callServerStream(
        client,
        methods.watchMigration,
        { migrationId, afterRevision: 0n },
        { ...(signal && { signal }) },
      );
    const open1 = watch("s", stream.signal);
    await open1.next();
    await refusal(watch("s2").next());
    stream.abort();
    await refusal(open1.next());
    calls.letGo("a");
    calls.letGo("b");
    await Promise.all(running);
    await calls.untilBegun(4);
    const after = parseMetrics(await metrics.text());
    const ended = (method: string, code: string) =>
      sampleValue(after, `switchover_grpc_calls_total{grpc_code="${code}",grpc_method="${method}"}`);
    assert.equal(ended("GetMigration", "OK"), 2);
    assert.equal(ended("GetMigration", "CANCELLED"), 1);
    assert.equal(ended("GetMigration", "RESOURCE_EXHAUSTED"), 1);
    assert.equal(ended("WatchMigration", "RESOURCE_EXHAUSTED"), 1);
    assert.equal(ended("WatchMigration", "CANCELLED"), 1);
    assert.equal(sampleValue(after, 'switchover_grpc_refusals_total{reason="OVERLOADED"}'), 2);
    assert.deepEqual(labelValues(after.get("switchover_grpc_refusals_total"), "reason"), ["OVERLOADED"]);
    assert.equal(sampleValue(after, 'switchover_grpc_call_seconds_count{grpc_method="GetMigration"}'), 4);
  });

  it("never begins a call whose deadline passes or whose caller leaves while it waits", async (t) => {
    const calls = new HeldCalls();
    const { open } = await openWire(t, calls, limits);
    const client = open();
    const running = [get(client, "a"), get(client, "b")];
    await calls.untilBegun(2);
    assert.equal((await refusal(get(client, "late", { timeoutMs: 100 }))).code, "DEADLINE_EXCEEDED");
    const leaving = new AbortController();
    const left = refusal(get(client, "left", { signal: leaving.signal }));
    // Frames keep their order: whoever has answered this has seen what was before.
    const roundTrip = () => callUnary(client, methods.cancelMigration, REQUEST, { timeoutMs: 20_000 });
    await roundTrip();
    leaving.abort();
    assert.equal((await left).code, "CANCELLED");
    await roundTrip();
    const last = get(client, "last");
    calls.letGo("a");
    await calls.untilBegun(3);
    calls.letGo("b");
    calls.letGo("last");
    await Promise.all([...running, last]);
    assert.deepEqual(calls.begun, ["a", "b", "last"]);
  });

  it("keeps the place of a call whose caller left until its work is through", async (t) => {
    const calls = new HeldCalls();
    const { open } = await openWire(t, calls, { ...limits, running: 1, waiting: 0 });
    const client = open();
    const leaving = new AbortController();
    const left = refusal(get(client, "a", { signal: leaving.signal }));
    await calls.untilBegun(1);
    leaving.abort();
    await left;
    assert.equal((await refusal(get(client, "b"))).reason, "OVERLOADED");
    calls.letGo("a");
    let answered = false;
    for (let attempt = 0; attempt < 50 && !answered; attempt += 1) {
      const next = get(client, "c").then(
        () => true,
        () => false,
      );
      await Promise.race([next, calls.untilBegun(2)]);
      calls.letGo("c");
      answered = await next;
    }
    assert.ok(answered);
  });

  it("has so many streams open, and takes another once one has ended", async (t) => {
    const calls = new HeldCalls();
    const { open } = await openWire(t, calls, limits);
    const client = open();
    const watch = (migrationId: string) =>
      callServerStream(client, methods.watchMigration, { migrationId, afterRevision: 0n });
    const first = watch("a");
    await first.next();
    assert.equal((await refusal(watch("b").next())).reason, "OVERLOADED");
    await first.return();
    await calls.untilBegun(1);
    calls.letGo("a");
    let reopened = false;
    for (let attempt = 0; attempt < 50 && !reopened; attempt += 1) {
      reopened = await watch("c")
        .next()
        .then(
          () => true,
          () => false,
        );
    }
    assert.ok(reopened);
  });
});

/** A path between two ends that can fall silent, as behind a cable that was cut: nobody is told. */
async function openCable(t: TestContext, target: string) {
  const ends: Socket[] = [];
  const port = Number(target.split(":")[1]);
  const proxy = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    near.pipe(far).pipe(near);
    for (const end of [near, far]) end.on("error", () => {});
    ends.push(near, far);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    for (const end of ends) end.destroy();
    proxy.close();
  });
  const cut = (): void => {
    for (const end of ends) end.unpipe().pause();
  };
  return { target: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, cut };
}

describe("keepalive", () => {
  it("tells both ends that the other one is gone, of which nobody told them", {
    timeout: 30_000,
  }, async (t) => {
    const calls = new HeldCalls();
    const { open, target } = await openWire(t, calls, { running: 1, waiting: 1, streams: 1 });
    const cable = await openCable(t, target);
    const stream = callServerStream(open(cable.target), methods.watchMigration, {
      migrationId: "a",
      afterRevision: 0n,
    });
    await stream.next();
    const next = refusal(stream.next());
    await calls.untilBegun(1);
    cable.cut();
    assert.equal((await next).code, "UNAVAILABLE");
    await calls.untilBegun(2);
    assert.deepEqual(calls.begun, ["a", "a aborted"]);
  });
});

describe("an agent whose caller left", () => {
  it("does not begin a call that waited for its turn", async () => {
    const host = new OwnersHost("ha");
    const leaving = new AbortController();
    await host.prepareNics();
    const adopt = {
      ...host.target,
      qmpPath: "",
      externalCpuSource: {
        cpuState: CpuState.STOPPED,
        runState: "prelaunch",
        incomingUri: "",
        transferStatus: "",
      },
    };
    const adopted = host.agent.adoptGuest(adopt);
    const detached = host.agent.detachNic({ ...host.target, nicId: "net0" }, leaving.signal);
    leaving.abort(new SwitchoverError("CANCELLED", "It left.", { reason: "CALLER_GONE" }));
    await adopted;
    await assert.rejects(detached, { code: "CANCELLED", reason: "CALLER_GONE" });
    const { instances } = await host.agent.getGuest({ guestId: host.target.guestId });
    assert.deepEqual(
      instances[0]?.nics.map(({ nicId }) => nicId),
      ["net0"],
    );
  });

  it("no longer waits for the word that it waited for in the caller's name", async () => {
    const host = new OwnersHost("hb");
    await host.adopt(CpuState.STOPPED, "inmigrate");
    await host.prepared();
    const leaving = new AbortController();
    const started = host.agent.startCpus({ ...host.target, runsNowhereElse: undefined }, leaving.signal);
    leaving.abort(new SwitchoverError("CANCELLED", "It left.", { reason: "CALLER_GONE" }));
    await assert.rejects(started, { code: "CANCELLED", reason: "CALLER_GONE" });
  });
});
