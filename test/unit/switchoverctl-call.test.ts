import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { HostAgentServiceService as agentMethods } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import {
  DeadlineAction,
  InstantKind,
  Migration,
  MigrationMode,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import {
  GetMigrationResponse,
  MigrationServiceService as methods,
  StartMigrationRequest,
  StartMigrationResponse,
  WatchMigrationResponse,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { type ServiceBinding, startGrpcServer } from "../../services/grpc/server.ts";
import { serveServerStream } from "../../services/grpc/server-stream.ts";
import { serveUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { call } from "../../services/switchoverctl/call.ts";
import { CALL_SETTINGS, DESCRIBE_SETTINGS } from "../../services/switchoverctl/call-settings.ts";
import { describe as describeContract } from "../../services/switchoverctl/describe.ts";
import { findMethod } from "../../services/switchoverctl/find-symbol.ts";
import type { Method } from "../../services/switchoverctl/service-contract.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PLAIN } from "../plain-text.ts";
import { launch, runToEnd } from "./program-process.ts";

const SERVICE = "switchover.v1.MigrationService";
const LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };

const MIGRATION = Migration.create({
  migrationId: "web-7-mk3v0q8ya1z9",
  spec: {
    guestId: "web-7",
    mode: MigrationMode.POST_COPY,
    transfer: { maxBandwidthBytesPerSecond: 9_007_199_254_740_993n, autoConverge: true },
    postCopy: { trigger: { $case: "afterPasses", value: 2 } },
    labels: { team: "blue", empty: "" },
    priority: -5,
    deadline: { afterMs: 60_000, action: DeadlineAction.CANCEL },
  },
  fence: { epoch: 4n, revision: 17n },
  phase: Phase.FAILED,
  outcome: Outcome.RUNS_ON_SOURCE,
  phases: [{ phase: Phase.PENDING, atUnixUs: 1_790_000_000_000_000n }, { phase: Phase.FAILED }],
  instants: [{ kind: InstantKind.STOPPED, hostId: "ha", atUnixUs: -1n }],
});

interface Served {
  readonly target: string;
  readonly started: StartMigrationRequest[];
  /** Emits "left" when a watch has lost its watcher. */
  readonly watches: EventEmitter;
}

/** A coordinator's service on a real server, which knows one migration; beside it others, which answer nothing. */
async function serve(t: TestContext, others: readonly ServiceBinding[] = []): Promise<Served> {
  const started: StartMigrationRequest[] = [];
  const watches = new EventEmitter();
  const ending = new AbortController();
  const implementation = {
    startMigration: serveUnary("StartMigration", LOG, async (request: StartMigrationRequest) => {
      started.push(request);
      return StartMigrationResponse.create({});
    }),
    getMigration: serveUnary("GetMigration", LOG, async (request: { readonly migrationId: string }) => {
      if (request.migrationId === MIGRATION.migrationId) return { migration: MIGRATION };
      const detail = { reason: "MIGRATION_UNKNOWN", field: "migration_id" };
      throw new SwitchoverError("NOT_FOUND", "There is no such migration.", detail);
    }),
    recoverMigration: serveUnary("RecoverMigration", LOG, async () => {
      throw new SwitchoverError("FAILED_PRECONDITION", "It needs no recovery.", { reason: "NOT_PAUSED" });
    }),
    watchMigration: serveServerStream(
      "WatchMigration",
      LOG,
      ending.signal,
      async function* ({ migrationId }: { readonly migrationId: string }, { signal }) {
        for (const phase of [Phase.PENDING, Phase.PREPARING]) {
          yield WatchMigrationResponse.create({ migration: { migrationId, phase } });
        }
        if (migrationId === "short") return;
        await once(signal, "abort");
        watches.emit("left");
      },
    ),
  };
  const services = [{ name: SERVICE, definition: methods, implementation }, ...others];
  const server = await startGrpcServer({ security: PLAINTEXT, targets: ["127.0.0.1:0"], services, log: LOG });
  t.after(() => {
    ending.abort();
    return server.close(1_000);
  });
  return { target: server.targets[0] ?? "", started, watches };
}

function valuesOf(...argv: readonly string[]) {
  const reading = readSettings(CALL_SETTINGS, argv, {});
  assert.ok(reading.t === "settings", JSON.stringify(reading));
  return reading.values;
}

async function asked(
  t: TestContext,
  target: string,
  [method, json = "", ...flags]: readonly string[],
  signal = new AbortController().signal,
  onText: (text: string) => void = () => undefined,
) {
  const client = openChannel(target, { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  let shown = "";
  const write = (text: string): void => {
    shown += text;
    onText(shown);
  };
  const exitCode = await call(valuesOf(...flags), method ?? "", json, { client, screen: { write }, signal });
  return { exitCode, shown };
}

describe("switchoverctl call", () => {
  it("sends what the JSON says, fields by either name, and nothing else", async (t) => {
    const { target, started } = await serve(t);
    const request = StartMigrationRequest.create({
      requestId: "r-1",
      spec: MIGRATION.spec,
      validateOnly: true,
    });
    await asked(t, target, [
      `${SERVICE}/StartMigration`,
      JSON.stringify(StartMigrationRequest.toJSON(request)),
    ]);
    const byProtoNames = {
      request_id: "r-2",
      spec: { guest_id: "web-7", mode: 1, post_copy: { after_ms: "5" }, transfer: null },
    };
    const { exitCode } = await asked(t, target, ["StartMigration", JSON.stringify(byProtoNames)]);
    assert.equal(exitCode, 0);
    assert.deepEqual(started, [
      request,
      StartMigrationRequest.create({
        requestId: "r-2",
        spec: {
          guestId: "web-7",
          mode: MigrationMode.LIVE,
          postCopy: { trigger: { $case: "afterMs", value: 5 } },
        },
      }),
    ]);
  });

  it("prints the answer as the proto3 JSON that the other commands print", async (t) => {
    const { target } = await serve(t);
    const get = ["MigrationService/GetMigration", `{"migrationId": "${MIGRATION.migrationId}"}`];
    const { shown } = await asked(t, target, get);
    const expected = GetMigrationResponse.toJSON(GetMigrationResponse.create({ migration: MIGRATION }));
    assert.deepEqual(JSON.parse(shown), JSON.parse(JSON.stringify(expected)));
    assert.ok(shown.trim().includes("\n"), "indented, for a person");
    const line = await asked(t, target, [...get, "--json"]);
    assert.deepEqual(JSON.parse(line.shown), JSON.parse(shown));
    assert.equal(line.shown.trim().includes("\n"), false);
  });

  const refusals: readonly (readonly [json: string, field: string, reason: string])[] = [
    ['{"guest": "web-7"}', "guest", "UNKNOWN_FIELD"],
    ['{"spec": {"transfer": {"bandwidth": 1}}}', "spec.transfer.bandwidth", "UNKNOWN_FIELD"],
    ['{"spec": {"mode": "LIVE"}}', "spec.mode", "UNKNOWN_VALUE"],
    ['{"spec": {"postCopy": {"afterMs": 1, "after_passes": 1}}}', "spec.post_copy.after_passes", "MISMATCH"],
    ['{"request_id": "a", "requestId": "b"}', "request_id", "DUPLICATE"],
    ['{"requestId": 7}', "request_id", "MALFORMED"],
    ['{"validateOnly": "true"}', "validate_only", "MALFORMED"],
    ['{"spec": "web-7"}', "spec", "MALFORMED"],
    ['{"spec": {"labels": [1]}}', "spec.labels", "MALFORMED"],
    ['{"spec": {"labels": {"team": 1}}}', "spec.labels.team", "MALFORMED"],
    ['{"spec": {"priority": 1.5}}', "spec.priority", "MALFORMED"],
    ['{"spec": {"priority": 2147483648}}', "spec.priority", "OUT_OF_RANGE"],
    ['{"spec": {"deadline": {"afterMs": -1}}}', "spec.deadline.after_ms", "OUT_OF_RANGE"],
    [
      '{"spec": {"transfer": {"maxBandwidthBytesPerSecond": 9007199254740993}}}',
      "spec.transfer.max_bandwidth_bytes_per_second",
      "MALFORMED",
    ],
    ["[]", "JSON", "MALFORMED"],
    ["{", "JSON", "MALFORMED"],
  ];
  it("refuses what would be left out or bent in silence, by its field, and sends nothing", async (t) => {
    const { target, started } = await serve(t);
    for (const [json, field, reason] of refusals) {
      await assert.rejects(
        asked(t, target, ["StartMigration", json]),
        { code: "INVALID_ARGUMENT", field, reason },
        json,
      );
    }
    assert.deepEqual(started, []);
  });

  it("takes a method by as much of its name as no other one has", async (t) => {
    const { target } = await serve(t);
    const get = [`{"migrationId": "${MIGRATION.migrationId}"}`];
    for (const name of ["GetMigration", "MigrationService/GetMigration", `${SERVICE}.GetMigration`]) {
      assert.equal((await asked(t, target, [name, ...get])).exitCode, 0);
    }
    // HostAgentService has one of that name, too, and is not served here.
    await assert.rejects(asked(t, target, ["RecoverMigration"]), { reason: "NOT_PAUSED" });
    await assert.rejects(asked(t, target, ["Migration"]), { field: "METHOD", reason: "UNKNOWN_NAME" });
    await assert.rejects(asked(t, target, ["HostAgentService/GetGuest"]), { reason: "UNKNOWN_NAME" });
  });

  it("shows each answer of a stream in a line, until it ends or the person goes", async (t) => {
    const { target, watches } = await serve(t);
    const phasesIn = (shown: string) =>
      shown
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { migration: Migration }).migration.phase);
    const short = await asked(t, target, ["WatchMigration", '{"migrationId": "short"}']);
    assert.deepEqual([short.exitCode, phasesIn(short.shown)], [0, ["PHASE_PENDING", "PHASE_PREPARING"]]);
    const leaving = new AbortController();
    const left = once(watches, "left");
    const long = await asked(
      t,
      target,
      ["WatchMigration", '{"migrationId": "long"}'],
      leaving.signal,
      (shown) => {
        if (shown.includes("PREPARING")) leaving.abort();
      },
    );
    assert.deepEqual([long.exitCode, phasesIn(long.shown)], [0, ["PHASE_PENDING", "PHASE_PREPARING"]]);
    await left;
  });

  it("says that a server serves no reflection", async (t) => {
    const server = new Server();
    t.after(() => server.forceShutdown());
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    const refused = asked(t, `127.0.0.1:${port}`, ["GetMigration"]);
    await assert.rejects(refused, { code: "UNIMPLEMENTED", reason: "NO_REFLECTION" });
  });

  it("waits no longer than it is told for a server that says nothing", async (t) => {
    const silent = createServer((socket) => t.after(() => socket.destroy())).listen(0, "127.0.0.1");
    await once(silent, "listening");
    t.after(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const waiting = asked(t, `127.0.0.1:${port}`, ["GetMigration", "", "--timeout-ms", "200"]);
    await assert.rejects(waiting, { code: "DEADLINE_EXCEEDED" });
  });

  it("as a program exits as every command does, and names code, reason and field", async (t) => {
    const { target, watches } = await serve(t);
    const run = (method: string, json: string) =>
      runToEnd(t, "switchoverctl", ["call", method, json, "--target", target]);
    const unknownField = await run("GetMigration", '{"id": 1}');
    assert.equal(unknownField.code, 2);
    assert.match(
      unknownField.stderr,
      /^switchoverctl: id is no field of .*, which has migration_id\. \[INVALID_ARGUMENT, UNKNOWN_FIELD, id\]\n$/,
    );
    const refused = await run("GetMigration", '{"migration_id": "other"}');
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /There is no such migration\. \[NOT_FOUND, MIGRATION_UNKNOWN, migration_id\]/,
    );
    const silence = await runToEnd(t, "switchoverctl", ["call", "X", "--target", "127.0.0.1:1"]);
    assert.equal(silence.code, 3);
    assert.match(silence.stderr, /nobody answers at 127\.0\.0\.1:1/);

    const args = ["call", "WatchMigration", '{"migrationId": "long"}', "--target", target];
    const left = once(watches, "left");
    const watch = launch(t, "switchoverctl", args);
    let shown = "";
    watch.stdout?.on("data", (part) => {
      shown += String(part);
      if (shown.includes("PREPARING")) watch.kill("SIGINT");
    });
    const [code] = (await once(watch, "exit")) as [number | null];
    assert.equal(code, 0);
    await left;
  });
});

function methodOf(service: string): Method {
  return { service, name: "Do" } as Method;
}

describe("switchoverctl describe", () => {
  const agent = { name: "switchover.v1.HostAgentService", definition: agentMethods, implementation: {} };

  async function described(t: TestContext, name: string, ...flags: readonly string[]): Promise<string> {
    const { target } = await serve(t, name === "StartCpusRequest" ? [agent] : []);
    const client = openChannel(target, { ...PLAIN, retriedServices: [] });
    t.after(() => client.close());
    const reading = readSettings(DESCRIBE_SETTINGS, flags, {});
    assert.ok(reading.t === "settings");
    let shown = "";
    const screen = { write: (text: string) => (shown += text) };
    assert.equal(await describeContract(reading.values, name, { client, screen }), 0);
    return shown;
  }

  it("shows the services that are served, and no others, with their methods", async (t) => {
    const shown = await described(t, "");
    assert.deepEqual(shown.match(/^service .*/gm), [`service ${SERVICE} {`]);
    assert.match(
      shown,
      /^ {2}rpc WatchMigration\(switchover\.v1\.WatchMigrationRequest\) returns \(stream switchover\.v1\.WatchMigrationResponse\);$/m,
    );
  });

  it("shows a method with its request and its answer", async (t) => {
    assert.deepEqual((await described(t, "GetMigration")).trimEnd().split("\n"), [
      `// ${SERVICE}/GetMigration`,
      "rpc GetMigration(switchover.v1.GetMigrationRequest) returns (switchover.v1.GetMigrationResponse);",
      "",
      "message switchover.v1.GetMigrationRequest {",
      "  string migration_id = 1;",
      "}",
      "",
      "message switchover.v1.GetMigrationResponse {",
      "  switchover.v1.Migration migration = 1;",
      "}",
    ]);
  });

  it("shows maps, lists, oneofs, optional fields and enums as .proto files have them", async (t) => {
    assert.match(await described(t, "MigrationSpec"), /^ {2}map<string, string> labels = 9;$/m);
    assert.match(
      await described(t, "switchover.v1.Migration"),
      /^ {2}repeated switchover\.v1\.PhaseEntry phases = 9;$/m,
    );
    assert.match(
      await described(t, "PostCopyPolicy"),
      /\{\n {2}oneof trigger \{\n {4}uint32 after_passes = 1;\n {4}uint32 after_ms = 2;\n {2}\}\n\}/,
    );
    assert.match(await described(t, "StartCpusRequest"), /^ {2}optional bool runs_nowhere_else = 3;$/m);
    assert.match(await described(t, "MigrationMode"), /^ {2}MIGRATION_MODE_LIVE = 1;$/m);
  });

  it("prints a JSON object for each thing with --json", async (t) => {
    const [method, request, ...others] = (await described(t, "GetMigration", "--json"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(method?.method, `${SERVICE}/GetMigration`);
    assert.deepEqual(request, {
      message: "switchover.v1.GetMigrationRequest",
      fields: [{ name: "migration_id", jsonName: "migrationId", number: 1, type: "string" }],
    });
    assert.equal(others.length, 1);
    const policy = JSON.parse(await described(t, "PostCopyPolicy", "--json")) as {
      fields: { oneof: string }[];
    };
    assert.deepEqual(
      policy.fields.map(({ oneof }) => oneof),
      ["trigger", "trigger"],
    );
    const spec = JSON.parse(await described(t, "MigrationSpec", "--json")) as {
      fields: { mapKey?: string }[];
    };
    assert.deepEqual(spec.fields.map(({ mapKey }) => mapKey).filter(Boolean), ["string"]);
  });

  it("refuses a name that nothing has, or more than one thing", async (t) => {
    await assert.rejects(described(t, "Nothing"), { field: "NAME", reason: "UNKNOWN_NAME" });
    const services = new Map([
      ["a.One", [methodOf("a.One")]],
      ["a.Two", [methodOf("a.Two")]],
    ]);
    const contract = { services, messages: new Map(), enums: new Map() };
    assert.equal(findMethod(contract, "Two/Do").service, "a.Two");
    assert.throws(() => findMethod(contract, "Do"), {
      reason: "AMBIGUOUS_NAME",
      message: 'METHOD: "Do" may be any of a.One/Do, a.Two/Do.',
    });
  });
});
