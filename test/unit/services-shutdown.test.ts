/** SIGTERM to programs that are busy: what callers are told, and that the end comes in time. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { HostAgentServiceService as agentMethods } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { NicDefinition, UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { startHeartbeat } from "../../services/nats/host-registry.ts";
import { PLAIN } from "../plain-text.ts";
import { skipWithout } from "../resource.ts";
import { launch, logLine, newFolder, terminate } from "./program-process.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const CALL = { timeoutMs: 20_000 };
const TARGET = { guestId: "web", instanceId: "i1" };

function channel(t: TestContext, target: unknown): Client {
  const client = openChannel(String(target), { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  return client;
}

function knowHost(link: NatsLink, hostId: string): Promise<() => Promise<void>> {
  const record = () => ({
    hostId,
    target: "127.0.0.1:1",
    version: "",
    heartbeatAtUnixUs: 0n,
    capabilities: [],
  });
  return new Promise((resolve) => {
    const end = startHeartbeat(link, { ...SILENT, info: () => resolve(end) }, record);
  });
}

async function refusal(call: Promise<unknown>): Promise<SwitchoverError> {
  return call.then(
    () => assert.fail("It was not refused."),
    (thrown) => SwitchoverError.from(thrown),
  );
}

test("an agent that is told to end ends its streams and a call that waits, and exits with 0 in time", {
  timeout: 120_000,
}, async (t) => {
  const host = [
    "--host-id",
    "hb",
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    "nats://127.0.0.1:1",
  ];
  const state = ["--state-dir", join(await newFolder(t), "hb"), "--cpu-priority", "normal"];
  const agent = launch(t, "agent", [...host, ...state]);
  const client = channel(t, (await logLine(agent, "The agent listens.")).target);
  const nic = NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: "52:54:00:00:00:01",
    device: { $case: "unmanaged", value: { kind: UnmanagedKind.USER } },
  });
  const inmigrate = {
    cpuState: CpuState.STOPPED,
    runState: "inmigrate",
    incomingUri: "",
    transferStatus: "",
  };
  await callUnary(client, agentMethods.prepareNics, { ...TARGET, nics: [nic], validateOnly: false }, CALL);
  await callUnary(
    client,
    agentMethods.adoptGuest,
    { ...TARGET, qmpPath: "", externalCpuSource: inmigrate },
    CALL,
  );
  const migrationId = "web-mk3v0q8ya1z9";
  const claim = {
    fence: { epoch: 1n, revision: 1n },
    migrationId,
    sourceHostId: "ha",
    mode: MigrationMode.LIVE,
  };
  await callUnary(
    client,
    agentMethods.prepareDestination,
    { ...TARGET, ...claim, transfer: undefined },
    CALL,
  );
  const follow = { guestId: "web", migrationId: "", afterSequence: 0n };
  const stream = callServerStream(client, agentMethods.followGuest, follow);
  const ended = refusal(stream.next());
  const waiting = refusal(
    callUnary(client, agentMethods.startCpus, { ...TARGET, runsNowhereElse: undefined }, CALL),
  );
  // Answered after those before it were begun.
  await callUnary(client, agentMethods.getGuest, { guestId: "web" }, CALL);

  assert.equal(await terminate(agent), 0);
  const { code, reason } = await ended;
  assert.deepEqual([code, reason], ["UNAVAILABLE", "SHUTTING_DOWN"]);
  assert.ok(["UNAVAILABLE", "CANCELLED"].includes((await waiting).code));
  assert.equal((await refusal(callUnary(client, agentMethods.describe, {}, CALL))).code, "UNAVAILABLE");
});

test("a coordinator that is told to end ends its streams, lets go of what it drives, and exits with 0 in time", {
  skip: skipWithout("natsServer"),
  timeout: 120_000,
}, async (t) => {
  const folder = await newFolder(t);
  const nats = ["--nats-listen", "127.0.0.1:0", "--data-dir", folder];
  const coordinator = launch(t, "coordinator", ["--insecure-loopback", "--listen", "127.0.0.1:0", ...nats]);
  const { targets, nats_url: natsUrl } = await logLine(coordinator, "The coordinator listens.");
  // They are known and do not answer: a migration between them waits.
  const link = NatsLink.open({ url: String(natsUrl), name: "hosts", log: SILENT });
  const beats = await Promise.all(["ha", "hb"].map((hostId) => knowHost(link, hostId)));
  const client = channel(t, (targets as readonly string[])[0]);
  const ends = {
    sourceHostId: "ha",
    sourceInstanceId: "",
    destinationHostId: "hb",
    destinationInstanceId: "",
  };
  const spec = {
    guestId: "web",
    ...ends,
    mode: MigrationMode.LIVE,
    transfer: undefined,
    postCopy: undefined,
    priority: 0,
    deadline: undefined,
    labels: {},
  };
  const { migration } = await callUnary(
    client,
    methods.startMigration,
    { requestId: "r1", spec, validateOnly: false },
    CALL,
  );
  const stream = callServerStream(client, methods.watchMigration, {
    migrationId: migration?.migrationId ?? "",
    afterRevision: 0n,
  });
  await stream.next();
  const ended = refusal(
    (async () => {
      for await (const _ of stream);
    })(),
  );

  for (const end of beats) await end();
  await link.close();
  assert.equal(await terminate(coordinator), 0);
  const { code, reason } = await ended;
  assert.deepEqual([code, reason], ["UNAVAILABLE", "SHUTTING_DOWN"]);
});
