/** MigrationService over real gRPC, on a real nats-server and with two hosts' agents. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { NatsConnection } from "nats";
import { HostAgent } from "../../agent/host-agent.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import { DrainSpec } from "../../proto/gen/switchover/v1/drain.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import {
  DeadlineAction,
  type MigrationDeadline,
  MigrationMode,
  Phase,
  TransferParameters,
} from "../../proto/gen/switchover/v1/migration.ts";
import {
  MigrationFilter,
  MigrationServiceService as methods,
  Resolution,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { NicDefinition, UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { HOST_BUCKET } from "../../proto/subjects.ts";
import { bindHostAgent } from "../../services/agent/host-agent-service.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { startGrpcServer } from "../../services/grpc/server.ts";
import { callServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { startHeartbeat } from "../../services/nats/host-registry.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { PLAIN } from "../plain-text.ts";
import { skipWithout } from "../resource.ts";
import { startCoordinatorHere } from "./coordinator-here.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";
import { describeWrongInput, type Requests, type Served, type WrongInput, wrongIds } from "./wrong-input.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const UNKNOWN_ENUM = 99;
const UNKNOWN_MIGRATION = "web-mk3v0q8ya1z9";

const POST_COPY = MigrationMode.POST_COPY;
const SPEC = {
  guestId: "web",
  sourceHostId: "ha",
  sourceInstanceId: "",
  destinationHostId: "hb",
  destinationInstanceId: "",
  mode: MigrationMode.LIVE,
  transfer: undefined,
  postCopy: undefined,
  priority: 0,
  deadline: undefined,
  labels: {},
};

const DRAIN_SPEC = DrainSpec.fromPartial({
  hostId: "ha",
  destinationHostIds: ["hb"],
  mode: MigrationMode.LIVE,
});

const BY_ID = { migrationId: UNKNOWN_MIGRATION };
const BY_DRAIN_ID = { drainId: "ha-mk3v0q8ya1z9" };
const REQUESTS: Requests = {
  startMigration: { requestId: "r1", spec: SPEC, validateOnly: false },
  getMigration: BY_ID,
  cancelMigration: BY_ID,
  switchToPostCopy: BY_ID,
  pauseMigration: BY_ID,
  recoverMigration: BY_ID,
  resolveMigration: { ...BY_ID, deadHostIds: [], resolution: Resolution.GUEST_LOST },
  watchMigration: { ...BY_ID, afterRevision: 0n },
  getReceipt: BY_ID,
  listMigrations: { filter: undefined, pageSize: 0, pageToken: "" },
  listHosts: { pageSize: 0, pageToken: "" },
  getHost: { hostId: "ha" },
  drainHost: { requestId: "d1", spec: DRAIN_SPEC },
  getDrain: BY_DRAIN_ID,
  cancelDrain: { ...BY_DRAIN_ID, cancelMigrations: false },
  watchDrain: BY_DRAIN_ID,
};

type Answer = WrongInput["answer"];

function start(what: string, changes: Readonly<Record<string, unknown>>, ...answer: Answer): WrongInput {
  return { rpc: "startMigration", what, changes: { spec: { ...SPEC, ...changes } }, answer };
}

function transfer(what: string, told: Partial<TransferParameters>, field: string): WrongInput {
  const changes = { transfer: TransferParameters.fromPartial(told) };
  return start(what, changes, "INVALID_ARGUMENT", "OUT_OF_RANGE", `spec.transfer.${field}`);
}

function labels(
  what: string,
  told: Readonly<Record<string, string>>,
  reason: string,
  field: string,
): WrongInput {
  return start(`labels: ${what}`, { labels: told }, "INVALID_ARGUMENT", reason, field);
}

function drain(what: string, told: Partial<DrainSpec>, ...answer: Answer): WrongInput {
  return { rpc: "drainHost", what, changes: { spec: { ...DRAIN_SPEC, ...told } }, answer };
}

function deadline(
  what: string,
  told: Partial<MigrationDeadline>,
  reason: string,
  field: string,
  mode: MigrationMode = POST_COPY,
): WrongInput {
  const whole = { afterMs: 1_000, action: DeadlineAction.CANCEL, ...told };
  return start(
    `deadline: ${what}`,
    { mode, deadline: whole },
    "INVALID_ARGUMENT",
    reason,
    `spec.deadline.${field}`,
  );
}

function filter(
  what: string,
  told: Readonly<Record<string, unknown>>,
  reason: string,
  field: string,
): WrongInput {
  const changes = { filter: { ...MigrationFilter.fromPartial({}), ...told } };
  return { rpc: "listMigrations", what, changes, answer: ["INVALID_ARGUMENT", reason, field] };
}

const SAME_HOST = { destinationHostId: "ha" };

const ROWS: readonly WrongInput[] = [
  ...Object.keys(REQUESTS)
    .filter((rpc) => "migrationId" in (REQUESTS[rpc] ?? {}))
    .flatMap((rpc): readonly WrongInput[] => [
      {
        rpc,
        what: "no id",
        changes: { migrationId: "" },
        answer: ["INVALID_ARGUMENT", "REQUIRED", "migration_id"],
      },
      ...["?", "web", "x".repeat(1_000_000), `${"x".repeat(89)}\u{1f600}`].map(
        (migrationId): WrongInput => ({
          rpc,
          what: `"${migrationId.slice(0, 20)}", which is no id`,
          changes: { migrationId },
          answer: ["INVALID_ARGUMENT", "MALFORMED", "migration_id"],
        }),
      ),
      {
        rpc,
        what: "an unknown migration",
        changes: {},
        answer: ["NOT_FOUND", "MIGRATION_UNKNOWN", "migration_id"],
      },
    ]),

  ...wrongIds("startMigration", "request_id", (requestId) => ({ requestId })),
  ...wrongIds("startMigration", "spec.guest_id", (guestId) => ({ spec: { ...SPEC, guestId } })),
  ...wrongIds("startMigration", "spec.source_host_id", (sourceHostId) => ({
    spec: { ...SPEC, sourceHostId },
  })),
  ...wrongIds("startMigration", "spec.destination_host_id", (destinationHostId) => ({
    spec: { ...SPEC, destinationHostId },
  })),
  ...wrongIds(
    "startMigration",
    "spec.source_instance_id",
    (sourceInstanceId) => ({ spec: { ...SPEC, sourceInstanceId } }),
    "allowed",
  ),
  ...wrongIds(
    "startMigration",
    "spec.destination_instance_id",
    (destinationInstanceId) => ({ spec: { ...SPEC, destinationInstanceId } }),
    "allowed",
  ),
  {
    rpc: "startMigration",
    what: "no spec",
    changes: { spec: undefined },
    answer: ["INVALID_ARGUMENT", "REQUIRED", "spec"],
  },
  start(
    "the same source and destination",
    SAME_HOST,
    "INVALID_ARGUMENT",
    "REQUIRED",
    "spec.source_instance_id",
  ),
  start(
    "the same host, with one instance named",
    { ...SAME_HOST, sourceInstanceId: "i1" },
    "INVALID_ARGUMENT",
    "REQUIRED",
    "spec.destination_instance_id",
  ),
  start(
    "the same instance",
    { ...SAME_HOST, sourceInstanceId: "i1", destinationInstanceId: "i1" },
    "INVALID_ARGUMENT",
    "SAME_INSTANCE",
    "spec.destination_instance_id",
  ),
  start("no mode", { mode: MigrationMode.UNSPECIFIED }, "INVALID_ARGUMENT", "REQUIRED", "spec.mode"),
  start("an unknown mode", { mode: UNKNOWN_ENUM }, "INVALID_ARGUMENT", "UNKNOWN_VALUE", "spec.mode"),
  transfer("a downtime limit beyond QEMU's", { downtimeLimitMs: 2_000_001 }, "downtime_limit_ms"),
  transfer("256 multifd channels", { multifdChannels: 256 }, "multifd_channels"),
  transfer(
    "a bandwidth beyond QEMU's",
    { maxBandwidthBytesPerSecond: 2n ** 63n },
    "max_bandwidth_bytes_per_second",
  ),
  transfer(
    "a post-copy bandwidth beyond QEMU's",
    { maxPostCopyBandwidthBytesPerSecond: 2n ** 64n - 1n },
    "max_post_copy_bandwidth_bytes_per_second",
  ),
  start(
    "multifd in post-copy",
    { mode: POST_COPY, transfer: TransferParameters.fromPartial({ multifdChannels: 2 }) },
    "INVALID_ARGUMENT",
    "LIVE_MODE_ONLY",
    "spec.transfer.multifd_channels",
  ),
  start(
    "a moment for post-copy in live mode",
    { postCopy: { trigger: { $case: "afterMs", value: 1 } } },
    "INVALID_ARGUMENT",
    "POST_COPY_MODE_ONLY",
    "spec.post_copy.after_ms",
  ),
  start(
    "post-copy after no pass",
    { mode: POST_COPY, postCopy: { trigger: { $case: "afterPasses", value: 0 } } },
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "spec.post_copy.after_passes",
  ),
  ...[-101, 101].map((priority) =>
    start(`a priority of ${priority}`, { priority }, "INVALID_ARGUMENT", "OUT_OF_RANGE", "spec.priority"),
  ),
  deadline("at once", { afterMs: 0 }, "REQUIRED", "after_ms"),
  deadline("beyond a week", { afterMs: 604_800_001 }, "OUT_OF_RANGE", "after_ms"),
  deadline("no action", { action: DeadlineAction.UNSPECIFIED }, "REQUIRED", "action"),
  deadline("an unknown action", { action: UNKNOWN_ENUM as DeadlineAction }, "UNKNOWN_VALUE", "action"),
  deadline(
    "post-copy in live mode",
    { action: DeadlineAction.SWITCH_TO_POST_COPY },
    "POST_COPY_MODE_ONLY",
    "action",
    MigrationMode.LIVE,
  ),
  start(
    "a source without an agent",
    { sourceHostId: "hx" },
    "NOT_FOUND",
    "HOST_UNKNOWN",
    "spec.source_host_id",
  ),
  start(
    "a destination without an agent",
    { destinationHostId: "hx" },
    "NOT_FOUND",
    "HOST_UNKNOWN",
    "spec.destination_host_id",
  ),

  labels("a key with a space", { "a b": "" }, "MALFORMED", "spec.labels[a b]"),
  labels("a value that is not ASCII", { a: "ä" }, "MALFORMED", "spec.labels[a]"),
  labels(
    "33 of them",
    Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`k${n}`, ""])),
    "TOO_MANY_LABELS",
    "spec.labels",
  ),
  ...["listMigrations", "listHosts"].flatMap((rpc): readonly WrongInput[] => [
    {
      rpc,
      what: "a page of 501",
      changes: { pageSize: 501 },
      answer: ["INVALID_ARGUMENT", "OUT_OF_RANGE", "page_size"],
    },
    ...["?", "x".repeat(1_000_000)].map(
      (pageToken): WrongInput => ({
        rpc,
        what: `a token of ${pageToken.length} characters that nobody gave out`,
        changes: { pageToken },
        answer: ["INVALID_ARGUMENT", "MALFORMED", "page_token"],
      }),
    ),
  ]),
  filter("a malformed guest", { guestId: "we b" }, "MALFORMED", "filter.guest_id"),
  filter("a malformed host", { hostId: "h.a" }, "MALFORMED", "filter.host_id"),
  filter("a role of no host", { hostRole: MigrationRole.SOURCE }, "REQUIRED", "filter.host_role"),
  filter("an unknown role", { hostId: "ha", hostRole: UNKNOWN_ENUM }, "UNKNOWN_VALUE", "filter.host_role"),
  filter("an unknown phase", { phases: [UNKNOWN_ENUM] }, "UNKNOWN_VALUE", "filter.phases[0]"),
  filter("an unspecified phase", { phases: [Phase.UNSPECIFIED] }, "REQUIRED", "filter.phases[0]"),
  filter("an unknown standing", { standing: UNKNOWN_ENUM }, "UNKNOWN_VALUE", "filter.standing"),
  filter(
    "a time before 1970",
    { requestedAfterUnixUs: -1n },
    "OUT_OF_RANGE",
    "filter.requested_after_unix_us",
  ),
  ...wrongIds("getHost", "host_id", (hostId) => ({ hostId })),
  {
    rpc: "getHost",
    what: "an unknown host",
    changes: { hostId: "hx" },
    answer: ["NOT_FOUND", "HOST_UNKNOWN", "host_id"],
  },

  ...["getDrain", "cancelDrain", "watchDrain"].flatMap((rpc): readonly WrongInput[] => [
    { rpc, what: "no id", changes: { drainId: "" }, answer: ["INVALID_ARGUMENT", "REQUIRED", "drain_id"] },
    ...["?", "ha", "x".repeat(1_000_000), `${"x".repeat(89)}\u{1f600}`].map(
      (drainId): WrongInput => ({
        rpc,
        what: `"${drainId.slice(0, 20)}", which is no id`,
        changes: { drainId },
        answer: ["INVALID_ARGUMENT", "MALFORMED", "drain_id"],
      }),
    ),
    { rpc, what: "an unknown drain", changes: {}, answer: ["NOT_FOUND", "DRAIN_UNKNOWN", "drain_id"] },
  ]),
  ...wrongIds("drainHost", "request_id", (requestId) => ({ requestId })),
  ...wrongIds("drainHost", "spec.host_id", (hostId) => ({ spec: { ...DRAIN_SPEC, hostId } })),
  ...wrongIds("drainHost", "spec.destination_host_ids[1]", (hostId) => ({
    spec: { ...DRAIN_SPEC, destinationHostIds: ["hb", hostId] },
  })),
  {
    rpc: "drainHost",
    what: "no spec",
    changes: { spec: undefined },
    answer: ["INVALID_ARGUMENT", "REQUIRED", "spec"],
  },
  drain(
    "no destinations",
    { destinationHostIds: [] },
    "INVALID_ARGUMENT",
    "REQUIRED",
    "spec.destination_host_ids",
  ),
  drain(
    "65 destinations",
    { destinationHostIds: Array.from({ length: 65 }, (_, n) => `h${n}`) },
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "spec.destination_host_ids",
  ),
  drain(
    "the host itself for a destination",
    { destinationHostIds: ["hb", "ha"] },
    "INVALID_ARGUMENT",
    "SAME_HOST",
    "spec.destination_host_ids[1]",
  ),
  drain(
    "a destination twice",
    { destinationHostIds: ["hb", "hb"] },
    "INVALID_ARGUMENT",
    "DUPLICATE",
    "spec.destination_host_ids[1]",
  ),
  drain("101 at a time", { maxParallel: 101 }, "INVALID_ARGUMENT", "OUT_OF_RANGE", "spec.max_parallel"),
  drain("11 attempts", { attempts: 11 }, "INVALID_ARGUMENT", "OUT_OF_RANGE", "spec.attempts"),
  drain(
    "more than a week",
    { giveUpAfterMs: 604_800_001 },
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "spec.give_up_after_ms",
  ),
  drain("no mode", { mode: MigrationMode.UNSPECIFIED }, "INVALID_ARGUMENT", "REQUIRED", "spec.mode"),
  drain(
    "an unknown mode",
    { mode: UNKNOWN_ENUM as MigrationMode },
    "INVALID_ARGUMENT",
    "UNKNOWN_VALUE",
    "spec.mode",
  ),
  drain("a priority of 101", { priority: 101 }, "INVALID_ARGUMENT", "OUT_OF_RANGE", "spec.priority"),
  drain("a host without an agent", { hostId: "hx" }, "NOT_FOUND", "HOST_UNKNOWN", "spec.host_id"),
  drain(
    "a destination without an agent",
    { destinationHostIds: ["hb", "hx"] },
    "NOT_FOUND",
    "HOST_UNKNOWN",
    "spec.destination_host_ids[1]",
  ),

  {
    rpc: "resolveMigration",
    what: "nothing stated",
    changes: { resolution: Resolution.UNSPECIFIED },
    answer: ["INVALID_ARGUMENT", "REQUIRED", "resolution"],
  },
  {
    rpc: "resolveMigration",
    what: "an unknown resolution",
    changes: { resolution: UNKNOWN_ENUM },
    answer: ["INVALID_ARGUMENT", "UNKNOWN_VALUE", "resolution"],
  },
  ...wrongIds("resolveMigration", "dead_host_ids[1]", (text) => ({ deadHostIds: ["ha", text] })),
];

const folder = await mkdtemp(join(tmpdir(), "switchover-wrong-input-"));
const ends: (() => Promise<void> | void)[] = [() => rm(folder, { recursive: true, force: true })];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** An agent that runs guest "web", or has a VMM for it that does not wait for one. */
async function startAgent(hostId: string, vmm: PretendedVmm, natsUrl: string): Promise<void> {
  const clock = openHostClock();
  const journals = openJournalDirectory(await mkdtemp(join(folder, hostId)));
  const agent = new HostAgent(pretendedAgentPorts(hostId, new MemoryJournals([]), vmm, { clock, journals }));
  ends.push(() => agent.close());
  const nic = NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: "52:54:00:00:00:01",
    device: { $case: "unmanaged", value: { kind: UnmanagedKind.USER } },
  });
  const instance = { guestId: "web", instanceId: `${hostId}-1` };
  await agent.prepareNics({ ...instance, nics: [nic], validateOnly: false });
  await agent.adoptGuest({ ...instance, qmpPath: "/run/web.qmp", externalCpuSource: undefined });
  const services = [bindHostAgent(agent, SILENT, new AbortController().signal)];
  const server = await startGrpcServer({
    security: PLAINTEXT,
    targets: ["127.0.0.1:0"],
    services,
    log: SILENT,
  });
  ends.push(() => server.close(100));
  const link = NatsLink.open({ url: natsUrl, name: hostId, log: SILENT });
  ends.push(() => link.close());
  const target = server.targets[0] ?? "";
  const record = () => ({
    hostId,
    target,
    version: "",
    heartbeatAtUnixUs: BigInt(clock.unixUs()),
    capabilities: [],
  });
  await new Promise<void>((resolve) => {
    ends.push(startHeartbeat(link, { ...SILENT, info: () => resolve() }, record));
  });
}

/** Everything in JetStream but heartbeats. */
async function stored(connection: NatsConnection): Promise<string> {
  const manager = await connection.jetstreamManager();
  const streams = await manager.streams.list().next();
  return JSON.stringify(
    streams
      .filter(({ config }) => config.name !== `KV_${HOST_BUCKET}`)
      .map(({ config, state }) => [config.name, state.last_seq, state.messages])
      .sort(),
  );
}

let served: Promise<Served> | undefined;

async function serve(): Promise<Served> {
  const nats = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder, log: SILENT });
  ends.push(() => nats.close());
  const coordinator = await startCoordinatorHere(nats.url);
  ends.push(() => coordinator.close());
  await startAgent("ha", new PretendedVmm("running"), nats.url);
  const destination = new PretendedVmm("inmigrate");
  await startAgent("hb", destination, nats.url);
  destination.suffers({ kind: "stop" }, "paused");
  const link = NatsLink.open({ url: nats.url, name: "observer", log: SILENT });
  ends.push(() => link.close());
  const connection = await link.whenReachable(5_000);
  return { target: coordinator.targets[0] ?? "", fingerprint: () => stored(connection) };
}

const open = () => (served ??= serve());

if (skipWithout("natsServer") === false) {
  describeWrongInput(
    { service: methods, serviceName: "switchover.v1.MigrationService", requests: REQUESTS, rows: ROWS },
    open,
  );
}

test("a destination that is not in inmigrate fails the migration before anything is prepared", {
  skip: skipWithout("natsServer"),
  timeout: 60_000,
}, async (t) => {
  const { target } = await open();
  const client = openChannel(target, { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  const options = { timeoutMs: 10_000 };
  const started = await callUnary(
    client,
    methods.startMigration,
    { requestId: "r2", spec: SPEC, validateOnly: false },
    options,
  );
  const migrationId = started.migration?.migrationId ?? "";
  let last = started.migration;
  for await (const { migration } of callServerStream(client, methods.watchMigration, {
    migrationId,
    afterRevision: 0n,
  })) {
    last = migration;
  }
  assert.equal(last?.phase, Phase.FAILED);
  assert.match(last?.reason ?? "", /run state is "paused"; an incoming guest needs "inmigrate"/);
  assert.deepEqual(
    last?.phases.map(({ phase }) => phase),
    [Phase.PENDING, Phase.PREPARING, Phase.FAILED],
  );
  await assert.rejects(callUnary(client, methods.cancelMigration, { migrationId }, options), {
    code: "FAILED_PRECONDITION",
    reason: "MIGRATION_ENDED",
    field: "migration_id",
  });
  await assert.rejects(
    callUnary(
      client,
      methods.startMigration,
      { requestId: "r2", spec: { ...SPEC, sourceInstanceId: "i9" }, validateOnly: false },
      options,
    ),
    { code: "ALREADY_EXISTS", reason: "REQUEST_REUSED", field: "request_id" },
  );
});
