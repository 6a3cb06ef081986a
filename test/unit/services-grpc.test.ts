import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
} from "@bufbuild/protobuf/wkt";
import type { Client } from "@grpc/grpc-js";
import { loadSync, type ServiceDefinition } from "@grpc/proto-loader";
import { service as health } from "grpc-health-check";
import { SwitchoverError } from "../../proto/error.ts";
import { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import {
  GetMigrationResponse,
  type MigrationServiceServer,
  MigrationServiceService as methods,
  WatchMigrationResponse,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import type { CallContext } from "../../services/grpc/call-context.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { type GrpcServer, startGrpcServer } from "../../services/grpc/server.ts";
import { callServerStream, serveServerStream } from "../../services/grpc/server-stream.ts";
import { UNEXPECTED_SENTENCE } from "../../services/grpc/status.ts";
import { callUnary, serveUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PLAIN } from "../plain-text.ts";

const SERVICE = "switchover.v1.MigrationService";
const CALL = { timeoutMs: 5_000 };

interface Behaviour {
  get?: (migrationId: string, context: CallContext) => Promise<Migration>;
  watch?: (migrationId: string, context: CallContext) => AsyncIterable<Migration>;
}

interface Wire {
  readonly server: GrpcServer;
  readonly client: Client;
  /** Error lines of the server's log. */
  readonly errors: string[];
  readonly ending: AbortController;
}

const notAsked = (): Promise<never> => assert.fail("not asked for in these tests");

/** A MigrationService that behaves as told, on any target, and a client of it. */
async function openWire(t: TestContext, behaviour: Behaviour, target = "127.0.0.1:0"): Promise<Wire> {
  const errors: string[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (_, sentence) => errors.push(sentence) };
  const ending = new AbortController();
  const implementation: MigrationServiceServer = {
    startMigration: serveUnary("StartMigration", log, async () => ({
      migration: undefined,
      refusals: [],
    })),
    getMigration: serveUnary("GetMigration", log, async (request, context) => {
      return GetMigrationResponse.create({ migration: await behaviour.get?.(request.migrationId, context) });
    }),
    listMigrations: serveUnary("ListMigrations", log, notAsked),
    getReceipt: serveUnary("GetReceipt", log, notAsked),
    listHosts: serveUnary("ListHosts", log, notAsked),
    getHost: serveUnary("GetHost", log, notAsked),
    cancelMigration: serveUnary("CancelMigration", log, notAsked),
    drainHost: serveUnary("DrainHost", log, notAsked),
    getDrain: serveUnary("GetDrain", log, notAsked),
    cancelDrain: serveUnary("CancelDrain", log, notAsked),
    watchDrain: serveServerStream("WatchDrain", log, ending.signal, () => assert.fail("not watched")),
    switchToPostCopy: serveUnary("SwitchToPostCopy", log, notAsked),
    pauseMigration: serveUnary("PauseMigration", log, notAsked),
    recoverMigration: serveUnary("RecoverMigration", log, notAsked),
    resolveMigration: serveUnary("ResolveMigration", log, notAsked),
    watchMigration: serveServerStream(
      "WatchMigration",
      log,
      ending.signal,
      async function* (request, context) {
        for await (const migration of behaviour.watch?.(request.migrationId, context) ?? []) {
          yield WatchMigrationResponse.create({ migration });
        }
      },
    ),
  };
  const server = await startGrpcServer({
    security: PLAINTEXT,
    targets: [target],
    services: [{ name: SERVICE, definition: methods, implementation }],
    log,
  });
  const client = openChannel(server.targets[0] ?? "", { ...PLAIN, retriedServices: [SERVICE] });
  t.after(async () => {
    client.close();
    await server.close(100);
  });
  return { server, client, errors, ending };
}

function migrationOf(migrationId: string, revision = 0n): Migration {
  return Migration.create({ migrationId, fence: { epoch: 2n ** 63n, revision } });
}

/** A promise and its key. */
function signalOnce(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

async function rejection(promise: Promise<unknown>): Promise<SwitchoverError> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof SwitchoverError, String(thrown));
    return thrown;
  }
  throw new Error("The call did not fail.");
}

test("a unary call brings request, response and 64-bit numbers across", async (t) => {
  const { client } = await openWire(t, { get: async (id) => migrationOf(id, 7n) });
  const response = await callUnary(client, methods.getMigration, { migrationId: "web-7" }, CALL);
  assert.deepEqual(response.migration, migrationOf("web-7", 7n));
});

test("a SwitchoverError arrives with its code, sentence, reason, field and metadata", async (t) => {
  const thrown = new SwitchoverError("FAILED_PRECONDITION", "The bridge br9 is not there: größer als 0.", {
    reason: "BRIDGE_MISSING",
    field: "nics[0].tap_on_bridge.bridge",
    metadata: { bridge: "br9", kernel: "ENODEV" },
  });
  const { client, errors } = await openWire(t, { get: () => Promise.reject(thrown) });
  const error = await rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, CALL));
  const seen = [error.code, error.message, error.reason, error.field, error.metadata];
  assert.deepEqual(seen, [thrown.code, thrown.message, thrown.reason, thrown.field, { ...thrown.metadata }]);
  assert.deepEqual(errors, []);
});

test("metadata too large for a header is left behind, the rest of the error is not", async (t) => {
  const thrown = new SwitchoverError("ABORTED", "Refused.", {
    reason: "STALE_FENCE",
    metadata: { dump: "x".repeat(60_000) },
  });
  const { client } = await openWire(t, { get: () => Promise.reject(thrown) });
  const error = await rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, CALL));
  assert.deepEqual([error.code, error.reason, error.metadata], ["ABORTED", "STALE_FENCE", {}]);
});

test("what nobody foresaw becomes INTERNAL with a fixed sentence and a line in the log", async (t) => {
  const { client, errors } = await openWire(t, {
    get: () => {
      throw new TypeError("secret detail");
    },
  });
  const error = await rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, CALL));
  assert.deepEqual(
    [error.code, error.message, error.reason],
    ["INTERNAL", UNEXPECTED_SENTENCE, "UNEXPECTED"],
  );
  assert.deepEqual(errors, ["GetMigration failed unexpectedly."]);
});

test("a call ends at its deadline and the handler's signal aborts", async (t) => {
  const aborted = signalOnce();
  const { client } = await openWire(t, {
    get: (id, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          aborted.resolve();
          resolve(migrationOf(id));
        });
      }),
  });
  const call = callUnary(client, methods.getMigration, { migrationId: "x" }, { timeoutMs: 100 });
  assert.equal((await rejection(call)).code, "DEADLINE_EXCEEDED");
  await aborted.promise;
});

test("a caller's signal ends its call with CANCELLED", async (t) => {
  const arrived = signalOnce();
  const { client } = await openWire(t, {
    get: (_, { signal }) => {
      arrived.resolve();
      return once(signal, "abort").then(() => migrationOf(""));
    },
  });
  const abort = new AbortController();
  const options = { ...CALL, signal: abort.signal };
  const call = rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, options));
  await arrived.promise;
  abort.abort();
  assert.equal((await call).code, "CANCELLED");
});

test("a service of idempotent methods is called again on UNAVAILABLE, and not on other errors", async (t) => {
  let calls = 0;
  let code: "UNAVAILABLE" | "ABORTED" = "UNAVAILABLE";
  const { client } = await openWire(t, {
    get: async (id) => {
      calls += 1;
      if (calls >= 3) return migrationOf(id);
      throw new SwitchoverError(code, "Not now.", { reason: "NOT_NOW" });
    },
  });
  await callUnary(client, methods.getMigration, { migrationId: "x" }, CALL);
  assert.equal(calls, 3);
  calls = 0;
  code = "ABORTED";
  await rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, CALL));
  assert.equal(calls, 1);
});

test("a target without a server is UNAVAILABLE", async () => {
  const client = openChannel("127.0.0.1:1", { ...PLAIN, retriedServices: [] });
  const error = await rejection(callUnary(client, methods.getMigration, { migrationId: "x" }, CALL));
  assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "GRPC_UNAVAILABLE"]);
  assert.match(error.message, /ECONNREFUSED 127\.0\.0\.1:1\.$/);
  client.close();
});

test("a stream delivers in order, then its error", async (t) => {
  const { client } = await openWire(t, {
    watch: async function* (id) {
      for (let revision = 0n; revision < 3n; revision += 1n) yield migrationOf(id, revision);
      throw new SwitchoverError("NOT_FOUND", "It is gone.", { reason: "GONE" });
    },
  });
  const seen: (bigint | undefined)[] = [];
  const error = await rejection(
    (async () => {
      for await (const { migration } of callServerStream(client, methods.watchMigration, {
        migrationId: "x",
        afterRevision: 0n,
      })) {
        seen.push(migration?.fence?.revision);
      }
    })(),
  );
  assert.deepEqual(seen, [0n, 1n, 2n]);
  assert.equal(error.reason, "GONE");
});

test("a slow reader holds the handler back", async (t) => {
  const reasonText = "x".repeat(64 * 1024);
  let yielded = 0;
  const { client } = await openWire(t, {
    watch: async function* (id) {
      for (; yielded < 2_000; yielded += 1) yield Migration.create({ migrationId: id, reason: reasonText });
    },
  });
  const stream = callServerStream(client, methods.watchMigration, { migrationId: "x", afterRevision: 0n });
  await stream.next();
  // Another call's round trips give the stream all the time it needs to run ahead.
  for (let call = 0; call < 50; call += 1) {
    await callUnary(
      client,
      methods.startMigration,
      { requestId: "r", spec: undefined, validateOnly: false },
      CALL,
    );
  }
  assert.ok(yielded < 200, `${yielded} of 2000 responses were made for a reader that took one.`);
  await stream.return();
});

test("leaving the loop ends the handler", async (t) => {
  const ended = signalOnce();
  const { client } = await openWire(t, {
    watch: async function* (id, { signal }) {
      try {
        yield migrationOf(id);
        await once(signal, "abort");
      } finally {
        ended.resolve();
      }
    },
  });
  for await (const _ of callServerStream(client, methods.watchMigration, {
    migrationId: "x",
    afterRevision: 0n,
  }))
    break;
  await ended.promise;
});

test("a caller's signal ends its stream with CANCELLED", async (t) => {
  const { client } = await openWire(t, {
    watch: async function* (id, { signal }) {
      yield migrationOf(id);
      await once(signal, "abort");
    },
  });
  const abort = new AbortController();
  const options = { signal: abort.signal };
  const stream = callServerStream(
    client,
    methods.watchMigration,
    { migrationId: "x", afterRevision: 0n },
    options,
  );
  await stream.next();
  abort.abort();
  assert.equal((await rejection(stream.next())).code, "CANCELLED");
});

test("a stream to a server that does not answer is given up in time, one to a silent server is not", async (t) => {
  // A channel that is closed while it connects keeps its socket until the server has closed it.
  const deaf = createServer((socket) => t.after(() => socket.destroy())).listen(0, "127.0.0.1");
  t.after(() => deaf.close());
  await once(deaf, "listening");
  const unheard = openChannel(`127.0.0.1:${(deaf.address() as AddressInfo).port}`, {
    ...PLAIN,
    retriedServices: [],
  });
  t.after(() => unheard.close());
  const request = { migrationId: "x", afterRevision: 0n };
  await assert.rejects(
    callServerStream(unheard, methods.watchMigration, request, { reachedWithinMs: 100 }).next(),
    { code: "UNAVAILABLE", reason: "NOT_REACHED" },
  );
  const { client } = await openWire(t, {
    watch: async function* () {
      await delay(300);
      yield Migration.create({ reason: "late" });
    },
  });
  const late = callServerStream(client, methods.watchMigration, request, { reachedWithinMs: 250 });
  assert.equal((await late.next()).value?.migration?.reason, "late");
  assert.equal((await late.next()).done, true);
});

test("a stream whose server answered while this program stood still is not given up", async (t) => {
  const { client } = await openWire(t, {
    watch: async function* () {
      // Once its first words are on their way, and before anybody here can read them.
      await nextTurn();
      const untilMs = performance.now() + 200;
      while (performance.now() < untilMs);
      yield Migration.create({ reason: "stands" });
    },
  });
  const request = { migrationId: "x", afterRevision: 0n };
  const stream = callServerStream(client, methods.watchMigration, request, { reachedWithinMs: 100 });
  assert.equal((await stream.next()).value?.migration?.reason, "stands");
});

test("a server that shuts down ends open streams with UNAVAILABLE, in bounded time", async (t) => {
  const { client, server, ending } = await openWire(t, {
    watch: async function* (id, { signal }) {
      yield migrationOf(id);
      await once(signal, "abort");
    },
  });
  const stream = callServerStream(client, methods.watchMigration, { migrationId: "x", afterRevision: 0n });
  await stream.next();
  ending.abort();
  const error = await rejection(stream.next());
  assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "SHUTTING_DOWN"]);
  await server.close(1_000);
});

test("a server listens on a unix socket and replaces one that a killed program left", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "switchover-grpc-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "grpc.sock");
  await leaveSocketBehind(path);
  const { client } = await openWire(t, { get: async (id) => migrationOf(id) }, `unix:${path}`);
  const response = await callUnary(client, methods.getMigration, { migrationId: "web-7" }, CALL);
  assert.equal(response.migration?.migrationId, "web-7");
});

/** A child that is killed while it listens: its socket's file stays. */
async function leaveSocketBehind(path: string): Promise<void> {
  const code = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  const child = spawn(process.execPath, ["-e", code], { stdio: "ignore" });
  await once(child, "exit");
}

test("health says SERVING for the server and its service, and nothing of others", async (t) => {
  const { client } = await openWire(t, {});
  const check = health.Check;
  assert.ok(check !== undefined);
  const ask = (service: string) => callUnary(client, check, { service }, CALL);
  for (const service of ["", SERVICE]) assert.deepEqual(await ask(service), { status: "SERVING" });
  assert.equal((await rejection(ask("switchover.v1.Other"))).code, "NOT_FOUND");
});

test("reflection shows the contract as protoc has it, to clients that take nothing else", async (t) => {
  const { client } = await openWire(t, {});
  const reflection = loadSync("grpc/reflection/v1/reflection.proto", {
    includeDirs: [fileURLToPath(new URL("../proto", import.meta.resolve("@grpc/reflection")))],
    oneofs: true,
    keepCase: true,
  });
  const { ServerReflectionInfo: method } = reflection[
    "grpc.reflection.v1.ServerReflection"
  ] as ServiceDefinition;
  assert.ok(method !== undefined);
  const stream = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
  );
  const answers: unknown[] = [];
  stream.on("data", (answer) => answers.push(answer));
  stream.write({ list_services: "" });
  stream.write({ file_containing_symbol: `${SERVICE}.StartMigration` });
  stream.end();
  await once(stream, "end");
  const [listed, found] = answers as [
    { readonly list_services_response: { readonly service: readonly unknown[] } },
    { readonly file_descriptor_response: { readonly file_descriptor_proto: readonly Uint8Array[] } },
  ];
  assert.deepEqual(listed.list_services_response.service, [{ name: SERVICE }]);
  const file = found.file_descriptor_response.file_descriptor_proto.map((bytes) =>
    fromBinary(FileDescriptorProtoSchema, bytes),
  );
  const inOrder = new Set<FileDescriptorProto>();
  const add = (one: FileDescriptorProto): void => {
    for (const name of one.dependency) add(file.find((other) => other.name === name) ?? assert.fail(name));
    inOrder.add(one);
  };
  file.forEach(add);
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [...inOrder] }));
  const spec = registry.getMessage("switchover.v1.MigrationSpec");
  assert.equal(spec?.fields.find(({ name }) => name === "labels")?.fieldKind, "map");
  assert.equal(spec?.field.postCopy?.message?.oneofs[0]?.name, "trigger");
  const service = registry.getService(SERVICE);
  assert.equal(service?.method.startMigration?.idempotency, MethodOptions_IdempotencyLevel.IDEMPOTENT);
  assert.ok(
    file.some(({ sourceCodeInfo }) => (sourceCodeInfo?.location.length ?? 0) > 0),
    "with comments",
  );
});

test("a port that is taken is CANNOT_LISTEN and names the target", async (t) => {
  const occupant = createServer().listen(0, "127.0.0.1");
  await once(occupant, "listening");
  t.after(() => occupant.close());
  const address = occupant.address();
  assert.ok(address !== null && typeof address === "object");
  const target = `127.0.0.1:${address.port}`;
  const error = await rejection(openWire(t, {}, target));
  assert.deepEqual(
    [error.code, error.reason, error.metadata.target],
    ["UNAVAILABLE", "CANNOT_LISTEN", target],
  );
});
