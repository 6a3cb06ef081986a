import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { Metadata } from "@grpc/grpc-js";
import {
  CancelTransferRequest,
  HostAgentServiceService as methods,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { traceOfMigration } from "../../proto/trace-context.ts";
import { AGENT_CAPABILITIES } from "../../services/agent/capabilities.ts";
import { notingTraces } from "../../services/agent/note-traces.ts";
import { AgentClients } from "../../services/coordinator/agent-clients.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { startGrpcServer } from "../../services/grpc/server.ts";
import { callServerStream, serveServerStream } from "../../services/grpc/server-stream.ts";
import { callerTraceIn } from "../../services/grpc/trace-metadata.ts";
import { callUnary, serveUnary } from "../../services/grpc/unary.ts";
import { withTraceIds } from "../../services/log/with-trace-ids.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { MigrationTraces } from "../../services/trace/migration-traces.ts";
import { PLAIN } from "../plain-text.ts";
import { silent } from "./nats-bench.ts";

const MIGRATION = "web-7-mk3v0q8ya1z9";
const GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ANOTHER = GIVEN.replace("4bf", "5bf");

describe("the traces that a program knows", () => {
  it("are the one that a migration's id says until another one is noted, which then stands", () => {
    const traces = new MigrationTraces();
    assert.deepEqual(traces.traceOf(MIGRATION), traceOfMigration(MIGRATION));
    assert.equal(traces.givenFor(MIGRATION), undefined);
    traces.note(MIGRATION, { traceparent: GIVEN });
    traces.note(MIGRATION, { traceparent: ANOTHER });
    assert.equal(traces.givenFor(MIGRATION)?.traceparent, GIVEN);
    assert.deepEqual(traces.traceOf(MIGRATION), traceOfMigration(MIGRATION, { traceparent: GIVEN }));
  });

  it("hold nothing for a migration whose own trace was noted, or a word that is malformed", () => {
    const traces = new MigrationTraces();
    traces.note(MIGRATION, traceOfMigration(MIGRATION));
    traces.note(MIGRATION, { traceparent: "00-zz" });
    assert.equal(traces.givenFor(MIGRATION), undefined);
  });

  it("let go of the oldest of too many", () => {
    const traces = new MigrationTraces();
    traces.note(MIGRATION, { traceparent: GIVEN });
    for (let number = 0; number < 16_384; number += 1) traces.traceOf(`web-${number}`);
    assert.equal(traces.givenFor(MIGRATION), undefined);
  });
});

describe("a log with trace ids", () => {
  it("has one in each line about a migration, at every level, and in no other", () => {
    const lines: unknown[] = [];
    const take = (fields: object, sentence: string) => void lines.push({ ...fields, sentence });
    const traces = new MigrationTraces();
    traces.note(MIGRATION, { traceparent: GIVEN });
    const log = withTraceIds({ debug: take, info: take, warn: take, error: take }, traces);
    for (const level of ["debug", "info", "warn", "error"] as const) {
      log[level]({ migration_id: MIGRATION }, level);
    }
    log.info({ migration_id: "", host_id: "ha" }, "no migration");
    log.info({ host_id: "ha" }, "no migration");
    const { traceId } = traceOfMigration(MIGRATION, { traceparent: GIVEN });
    assert.deepEqual(lines, [
      ...["debug", "info", "warn", "error"].map((sentence) => ({
        migration_id: MIGRATION,
        trace_id: traceId,
        sentence,
      })),
      { migration_id: "", host_id: "ha", sentence: "no migration" },
      { host_id: "ha", sentence: "no migration" },
    ]);
  });
});

/** An agent's service, of which only what the tests call does anything; returns where it listens. */
async function serveAgent(t: TestContext, traces: MigrationTraces): Promise<string> {
  const ending = new AbortController();
  const implementation = {
    getGuest: serveUnary("GetGuest", silent, async () => ({ instances: [] })),
    cancelTransfer: serveUnary("CancelTransfer", silent, async () => ({ applied: 1 })),
    followGuest: serveServerStream("FollowGuest", silent, ending.signal, async function* () {}),
  };
  const { cancelTransfer, followGuest, getGuest } = methods;
  const definition = { cancelTransfer, followGuest, getGuest };
  const name = "switchover.v1.HostAgentService";
  const services = [notingTraces({ name, definition, implementation }, traces)];
  const server = await startGrpcServer({
    security: PLAINTEXT,
    targets: ["127.0.0.1:0"],
    services,
    log: silent,
  });
  t.after(() => server.close(0));
  return server.targets[0] ?? "";
}

async function openAgent(t: TestContext, traces: MigrationTraces) {
  const client = openChannel(await serveAgent(t, traces), { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  return client;
}

describe("an agent", () => {
  const call = { timeoutMs: 5_000, trace: { traceparent: GIVEN } };
  const request = { migrationId: MIGRATION, fence: undefined, guestId: "web-7", instanceId: "" };

  it("notes the trace of a call that names its migration", async (t) => {
    const traces = new MigrationTraces();
    await callUnary(await openAgent(t, traces), methods.cancelTransfer, request, call);
    assert.equal(traces.givenFor(MIGRATION)?.traceparent, GIVEN);
  });

  it("notes the trace of a stream that names its migration", async (t) => {
    const traces = new MigrationTraces();
    const client = await openAgent(t, traces);
    const following = { guestId: "web-7", migrationId: MIGRATION, afterSequence: 0n };
    for await (const _ of callServerStream(client, methods.followGuest, following, {
      trace: { traceparent: GIVEN },
    }));
    assert.equal(traces.givenFor(MIGRATION)?.traceparent, GIVEN);
  });

  it("notes nothing of a call in no trace, or that names no migration", async (t) => {
    const traces = new MigrationTraces();
    const client = await openAgent(t, traces);
    await callUnary(client, methods.cancelTransfer, request, { timeoutMs: 5_000 });
    await callUnary(client, methods.getGuest, { guestId: MIGRATION }, call);
    assert.equal(traces.givenFor(MIGRATION), undefined);
  });
});

describe("a coordinator's clients of agents", () => {
  const HA = "ha" as HostId;
  const { signal } = new AbortController();

  async function openClients(t: TestContext, traces: MigrationTraces): Promise<AgentClients> {
    const target = await serveAgent(t, traces);
    const record = HostRecord.create({ hostId: HA, target, capabilities: AGENT_CAPABILITIES });
    const clients = new AgentClients({ lastKnown: () => record, get: async () => record }, PLAINTEXT);
    t.after(() => clients.close());
    return clients;
  }

  it("put the trace of a call on the wire", async (t) => {
    const traces = new MigrationTraces();
    const clients = await openClients(t, traces);
    const request = CancelTransferRequest.create({ migrationId: MIGRATION });
    await clients.cancelTransfer(HA, request, { deadlineMs: 5_000, signal, trace: { traceparent: GIVEN } });
    assert.equal(traces.givenFor(MIGRATION)?.traceparent, GIVEN);
  });

  it("put the trace of a stream on the wire", async (t) => {
    const traces = new MigrationTraces();
    const clients = await openClients(t, traces);
    const [guestId, migrationId] = ["web-7" as GuestId, MIGRATION as MigrationId];
    for await (const _ of clients.follow(HA, guestId, migrationId, 0n, signal, { traceparent: GIVEN }));
    assert.equal(traces.givenFor(MIGRATION)?.traceparent, GIVEN);
  });
});

describe("a call's metadata", () => {
  const withTraceparents = (...values: string[]) => {
    const metadata = new Metadata();
    for (const value of values) metadata.add("traceparent", value);
    return metadata;
  };

  it("has a well-formed tracestate beside its traceparent, several as one list, and none that is too long", () => {
    const stateOf = (...states: readonly string[]) => {
      const metadata = withTraceparents(GIVEN);
      for (const state of states) metadata.add("tracestate", state);
      return callerTraceIn(metadata)?.tracestate;
    };
    assert.equal(stateOf("rojo=1"), "rojo=1");
    assert.equal(stateOf("rojo=1", "congo=2"), "rojo=1,congo=2");
    assert.equal(stateOf(), undefined);
    assert.equal(stateOf("rojo=1", "rojo=2"), undefined);
    assert.equal(stateOf("a=".padEnd(513, "x")), undefined);
  });

  it("has a traceparent where there is one that is well-formed", () => {
    assert.equal(callerTraceIn(withTraceparents(GIVEN))?.traceparent, GIVEN);
  });

  it("has none where there is none, a malformed one, or more than one", () => {
    for (const given of [[], ["00-zz"], [GIVEN, GIVEN], [GIVEN, ANOTHER]]) {
      assert.equal(callerTraceIn(withTraceparents(...given)), undefined, given.join());
    }
  });
});
