/** HostAgentService over real gRPC, with journals on disk and a kernel and VMMs that are pretended. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { linkSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import { openQemu } from "../../agent/vmm/qemu.ts";
import { CpuState, HandOff, MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode, TransferParameters } from "../../proto/gen/switchover/v1/migration.ts";
import { EntryMobility, MacTableManager, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { bindHostAgent, HOST_AGENT_SERVICE } from "../../services/agent/host-agent-service.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { startGrpcServer } from "../../services/grpc/server.ts";
import type { Log } from "../../services/log/log.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";
import { describeWrongInput, type Requests, type Served, type WrongInput, wrongIds } from "./wrong-input.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const UNKNOWN_ENUM = 99;

function tapNic(nicId: string, macAddress: string, deviceName: string, bridge = "br0"): NicDefinition {
  return NicDefinition.fromPartial({
    nicId,
    macAddress,
    device: {
      $case: "tapOnBridge",
      value: {
        deviceName,
        bridge,
        macTableManager: MacTableManager.SWITCHOVER,
        entryMobility: EntryMobility.STICKY,
      },
    },
  });
}

const NIC = tapNic("net0", "52:54:00:00:00:01", "web0");
const NEW_NIC = tapNic("net1", "52:54:00:00:00:02", "web1");
const FENCE = { epoch: 7n, revision: 3n };
/** Guest "web" runs in instance i1; "db" has a VMM that does not wait for a guest; "new" is prepared and not adopted. */
const WEB = { guestId: "web", instanceId: "i1" };
const COMMAND = { ...WEB, fence: FENCE, migrationId: "web-mk3v0q8ya1z9" };
const HAND_OFF = HandOff.fromPartial({
  migrationId: COMMAND.migrationId,
  guestId: "web",
  sourceHostId: "ha",
  sourceInstanceId: "i0",
  destinationHostId: "hb",
  fence: FENCE,
  runState: "running",
  stoppedAtUnixUs: 1n,
  deregisteredAtUnixUs: 2n,
  journaledAtUnixUs: 3n,
});

const REQUESTS: Requests = {
  describe: {},
  readClock: {},
  prepareNics: { guestId: "web", instanceId: "i9", nics: [NEW_NIC], validateOnly: false },
  attachNic: { ...WEB, nic: NEW_NIC, validateOnly: false },
  detachNic: { ...WEB, nicId: "net0" },
  adoptGuest: { guestId: "new", instanceId: "n1", qmpPath: "/run/new.qmp", externalCpuSource: undefined },
  preflight: { ...WEB, role: MigrationRole.SOURCE, mode: MigrationMode.LIVE },
  prepareDestination: { ...COMMAND, sourceHostId: "hb", mode: MigrationMode.LIVE, transfer: undefined },
  armSource: { ...COMMAND, destinationHostId: "hb", mode: MigrationMode.LIVE, transfer: undefined },
  beginTransfer: { ...COMMAND, incomingUri: "tcp:10.0.0.2:40123" },
  switchToPostCopy: COMMAND,
  followGuest: { guestId: "web", migrationId: "", afterSequence: 0n },
  getHandOff: COMMAND,
  deliverHandOff: { ...COMMAND, handOff: HAND_OFF },
  releaseSource: COMMAND,
  cancelTransfer: COMMAND,
  abortDestination: COMMAND,
  handBack: COMMAND,
  resumeSource: { ...COMMAND, runState: "" },
  pauseMigration: COMMAND,
  recoverMigration: { ...COMMAND, recoveryUri: "" },
  listOrphans: {},
  removeOrphans: { deviceNames: ["tap9"], validateOnly: false, all: false },
  startCpus: { ...WEB, runsNowhereElse: undefined },
  stopCpus: WEB,
  reportCpuState: {
    ...WEB,
    cpuState: CpuState.STOPPED,
    runState: "",
    transferStatus: "",
    observedAtUnixUs: 0n,
    startRefusal: "",
  },
  getGuest: { guestId: "web" },
};

const invalid = (
  rpc: string,
  what: string,
  changes: WrongInput["changes"],
  field: string,
  reason = "MALFORMED",
): WrongInput => ({ rpc, what, changes, answer: ["INVALID_ARGUMENT", reason, field] });

const nicRow = (what: string, nic: unknown, field: string, reason?: string): WrongInput =>
  invalid("prepareNics", what, { nics: [nic] }, `nics[0].${field}`, reason);

/** Those whose request names a guest that must be on this host. */
const RPCS_OF_A_GUEST = Object.keys(REQUESTS).filter((rpc) => "guestId" in (REQUESTS[rpc] ?? {}));
const MAKES_OR_FOLLOWS = ["prepareNics", "followGuest"];
/** By the journal, or about an instance that may be gone: nothing is known of the guest, and each has a word for that. */
const ANSWERED_OF_UNKNOWN = ["getHandOff", "releaseSource", "abortDestination", "handBack", "cancelTransfer"];
const FENCED = Object.keys(REQUESTS).filter((rpc) => "fence" in (REQUESTS[rpc] ?? {}));
const INSTANCE_REQUIRED = ["prepareNics", "releaseSource", "abortDestination", "handBack"];

const ROWS: readonly WrongInput[] = [
  ...RPCS_OF_A_GUEST.flatMap((rpc) => wrongIds(rpc, "guest_id", (guestId) => ({ guestId }))),
  ...RPCS_OF_A_GUEST.filter((rpc) => ![...MAKES_OR_FOLLOWS, ...ANSWERED_OF_UNKNOWN].includes(rpc)).map(
    (rpc): WrongInput => ({
      rpc,
      what: "an unknown guest",
      changes: {
        guestId: "nobody",
        ...(rpc === "deliverHandOff" ? { handOff: { ...HAND_OFF, guestId: "nobody" } } : {}),
      },
      answer: ["NOT_FOUND", "GUEST_UNKNOWN", "guest_id"],
    }),
  ),
  ...RPCS_OF_A_GUEST.filter((rpc) => "instanceId" in (REQUESTS[rpc] ?? {})).flatMap((rpc) => {
    const empty = INSTANCE_REQUIRED.includes(rpc) ? "refused" : "allowed";
    return rpc === "getHandOff" ? [] : wrongIds(rpc, "instance_id", (instanceId) => ({ instanceId }), empty);
  }),
  ...FENCED.flatMap((rpc) => [
    invalid(rpc, "without a fence", { fence: undefined }, "fence.epoch", "REQUIRED"),
    invalid(rpc, "with epoch 0", { fence: { epoch: 0n, revision: 1n } }, "fence.epoch", "REQUIRED"),
  ]),

  nicRow("a malformed MAC address", { ...NEW_NIC, macAddress: "52:54:00:00:00" }, "mac_address"),
  nicRow("an oversized MAC address", { ...NEW_NIC, macAddress: "5".repeat(100_000) }, "mac_address"),
  nicRow("the zero MAC address", { ...NEW_NIC, macAddress: "00:00:00:00:00:00" }, "mac_address", "MAC_ZERO"),
  nicRow(
    "a group's MAC address",
    { ...NEW_NIC, macAddress: "01:00:5e:00:00:01" },
    "mac_address",
    "MAC_MULTICAST",
  ),
  nicRow("an empty NIC id", { ...NEW_NIC, nicId: "" }, "nic_id", "REQUIRED"),
  nicRow("an oversized NIC id", { ...NEW_NIC, nicId: "n".repeat(100_000) }, "nic_id"),
  nicRow("no device", { ...NEW_NIC, device: undefined }, "device", "REQUIRED"),
  nicRow(
    "an empty device name",
    tapNic("net1", "52:54:00:00:00:02", ""),
    "tap_on_bridge.device_name",
    "REQUIRED",
  ),
  nicRow(
    "a device name of 16 bytes",
    tapNic("net1", "52:54:00:00:00:02", "x".repeat(16)),
    "tap_on_bridge.device_name",
    "DEVICE_NAME_TOO_LONG",
  ),
  nicRow(
    "an oversized bridge name",
    tapNic("net1", "52:54:00:00:00:02", "web1", "b".repeat(100_000)),
    "tap_on_bridge.bridge",
    "DEVICE_NAME_TOO_LONG",
  ),
  nicRow(
    "an unknown manager of the bridge's table",
    { ...NEW_NIC, device: { $case: "tapOnBridge", value: { ...tapValue(), macTableManager: UNKNOWN_ENUM } } },
    "tap_on_bridge.mac_table_manager",
    "UNKNOWN_VALUE",
  ),
  nicRow(
    "an unknown mobility of entries",
    { ...NEW_NIC, device: { $case: "tapOnBridge", value: { ...tapValue(), entryMobility: UNKNOWN_ENUM } } },
    "tap_on_bridge.entry_mobility",
    "UNKNOWN_VALUE",
  ),
  nicRow(
    "an unknown macvtap mode",
    {
      ...NEW_NIC,
      device: { $case: "macvtap", value: { deviceName: "mv0", parent: "up0", mode: UNKNOWN_ENUM } },
    },
    "macvtap.mode",
    "UNKNOWN_VALUE",
  ),
  nicRow(
    "an unknown unmanaged kind",
    { ...NEW_NIC, device: { $case: "unmanaged", value: { kind: UNKNOWN_ENUM } } },
    "unmanaged.kind",
    "UNKNOWN_VALUE",
  ),
  invalid("prepareNics", "no NICs", { nics: [] }, "nics", "REQUIRED"),
  invalid(
    "prepareNics",
    "65 NICs",
    { nics: Array.from({ length: 65 }, (_, n) => tapNic(`n${n}`, "52:54:00:00:01:01", `t${n}`)) },
    "nics",
    "TOO_MANY",
  ),
  invalid(
    "prepareNics",
    "two NICs of one id",
    { nics: [NEW_NIC, { ...NEW_NIC, macAddress: "52:54:00:00:00:03" }] },
    "nics[1].nic_id",
    "DUPLICATE",
  ),
  {
    rpc: "prepareNics",
    what: "a bridge that is not there",
    changes: { nics: [tapNic("net1", "52:54:00:00:00:02", "web1", "br9")] },
    answer: ["FAILED_PRECONDITION", "BRIDGE_MISSING", "nics[0].tap_on_bridge.bridge"],
  },
  {
    rpc: "prepareNics",
    what: "a MAC address of another guest",
    changes: { guestId: "other", nics: [{ ...NEW_NIC, macAddress: NIC.macAddress }] },
    answer: ["FAILED_PRECONDITION", "MAC_IN_USE", "nics[0].mac_address"],
  },
  {
    rpc: "prepareNics",
    what: "an instance that has other NICs",
    changes: { instanceId: "i1" },
    answer: ["ALREADY_EXISTS", "INSTANCE_EXISTS", "instance_id"],
  },

  invalid("attachNic", "no NIC", { nic: undefined }, "nic", "REQUIRED"),
  invalid(
    "attachNic",
    "a malformed MAC address",
    { nic: { ...NEW_NIC, macAddress: "x" } },
    "nic.mac_address",
  ),
  {
    rpc: "attachNic",
    what: "a bridge that is not there",
    changes: { nic: tapNic("net1", "52:54:00:00:00:02", "web1", "br9") },
    answer: ["FAILED_PRECONDITION", "BRIDGE_MISSING", "nic.tap_on_bridge.bridge"],
  },
  {
    rpc: "attachNic",
    what: "a NIC that is there with another address",
    changes: { nic: { ...NIC, macAddress: "52:54:00:00:00:09" } },
    answer: ["ALREADY_EXISTS", "NIC_EXISTS", "nic.nic_id"],
  },
  invalid("detachNic", "an empty NIC id", { nicId: "" }, "nic_id", "REQUIRED"),
  invalid("detachNic", "an oversized NIC id", { nicId: "n".repeat(100_000) }, "nic_id"),

  invalid("adoptGuest", "neither QMP path nor owner", { qmpPath: "" }, "qmp_path", "REQUIRED"),
  invalid("adoptGuest", "a QMP path that is not absolute", { qmpPath: "qmp.sock" }, "qmp_path"),
  invalid("adoptGuest", "an oversized QMP path", { qmpPath: `/${"x".repeat(100_000)}` }, "qmp_path"),
  invalid(
    "adoptGuest",
    "two CPU sources",
    { externalCpuSource: owner({}) },
    "external_cpu_source",
    "TWO_CPU_SOURCES",
  ),
  invalid(
    "adoptGuest",
    "no CPU state",
    { qmpPath: "", externalCpuSource: owner({ cpuState: CpuState.UNSPECIFIED }) },
    "external_cpu_source.cpu_state",
    "REQUIRED",
  ),
  invalid(
    "adoptGuest",
    "an unknown CPU state",
    { qmpPath: "", externalCpuSource: owner({ cpuState: UNKNOWN_ENUM }) },
    "external_cpu_source.cpu_state",
    "UNKNOWN_VALUE",
  ),
  invalid(
    "adoptGuest",
    "a malformed run state",
    { qmpPath: "", externalCpuSource: owner({ runState: "?" }) },
    "external_cpu_source.run_state",
  ),
  invalid(
    "adoptGuest",
    "a malformed URI",
    { qmpPath: "", externalCpuSource: owner({ incomingUri: "http://x" }) },
    "external_cpu_source.incoming_uri",
  ),
  invalid(
    "adoptGuest",
    "an unknown transfer status",
    { qmpPath: "", externalCpuSource: owner({ transferStatus: "x" }) },
    "external_cpu_source.transfer_status",
  ),
  {
    rpc: "adoptGuest",
    what: "a QMP socket that nobody listens on",
    changes: { qmpPath: "/run/dead.qmp" },
    answer: ["UNAVAILABLE", "QMP_UNREACHABLE", "qmp_path"],
  },
  {
    rpc: "adoptGuest",
    what: "a QMP socket that is not there",
    changes: { qmpPath: "/nonexistent/qmp.sock" },
    answer: ["UNAVAILABLE", "QMP_UNREACHABLE", "qmp_path"],
  },
  {
    rpc: "adoptGuest",
    what: "another socket than it was adopted by",
    changes: { ...WEB, qmpPath: "/run/other.qmp" },
    answer: ["ALREADY_EXISTS", "ALREADY_ADOPTED", "qmp_path"],
  },

  invalid("preflight", "no mode", { mode: MigrationMode.UNSPECIFIED }, "mode", "REQUIRED"),
  invalid("preflight", "an unknown mode", { mode: UNKNOWN_ENUM }, "mode", "UNKNOWN_VALUE"),
  invalid("preflight", "no role", { role: MigrationRole.UNSPECIFIED }, "role", "REQUIRED"),
  invalid("preflight", "an unknown role", { role: UNKNOWN_ENUM }, "role", "UNKNOWN_VALUE"),

  ...(["prepareDestination", "armSource"] as const).flatMap((rpc) => {
    const host = rpc === "armSource" ? "destination_host_id" : "source_host_id";
    const change = (text: string) =>
      rpc === "armSource" ? { destinationHostId: text } : { sourceHostId: text };
    const transfer = (told: Partial<TransferParameters>) => ({
      transfer: TransferParameters.fromPartial(told),
    });
    return [
      invalid(
        rpc,
        "a downtime limit beyond QEMU's",
        transfer({ downtimeLimitMs: 2_000_001 }),
        "transfer.downtime_limit_ms",
        "OUT_OF_RANGE",
      ),
      invalid(
        rpc,
        "256 multifd channels",
        transfer({ multifdChannels: 256 }),
        "transfer.multifd_channels",
        "OUT_OF_RANGE",
      ),
      invalid(
        rpc,
        "a bandwidth beyond QEMU's",
        transfer({ maxBandwidthBytesPerSecond: 2n ** 63n }),
        "transfer.max_bandwidth_bytes_per_second",
        "OUT_OF_RANGE",
      ),
      invalid(rpc, "no mode", { mode: MigrationMode.UNSPECIFIED }, "mode", "REQUIRED"),
      invalid(rpc, "an unknown mode", { mode: UNKNOWN_ENUM }, "mode", "UNKNOWN_VALUE"),
      invalid(rpc, "no migration id", { migrationId: "" }, "migration_id", "REQUIRED"),
      invalid(rpc, "an oversized migration id", { migrationId: "x".repeat(100_000) }, "migration_id"),
      ...wrongIds(rpc, host, change),
    ];
  }),
  {
    rpc: "prepareDestination",
    what: "an instance that has its guest",
    changes: {},
    answer: ["FAILED_PRECONDITION", "NOT_INCOMING", "instance_id"],
  },
  {
    rpc: "prepareDestination",
    what: "a VMM that is not in inmigrate",
    changes: { guestId: "db", instanceId: "d1" },
    answer: ["FAILED_PRECONDITION", "NOT_INCOMING", "instance_id"],
  },
  {
    rpc: "prepareDestination",
    what: "an instance that was not adopted",
    changes: { guestId: "new", instanceId: "n1" },
    answer: ["FAILED_PRECONDITION", "NOT_ADOPTED", "instance_id"],
  },
  invalid("beginTransfer", "a malformed URI", { incomingUri: "exec:cat" }, "incoming_uri"),
  invalid(
    "beginTransfer",
    "an oversized URI",
    { incomingUri: `tcp:${"x".repeat(100_000)}:1` },
    "incoming_uri",
  ),
  invalid("recoverMigration", "a malformed URI", { recoveryUri: "exec:cat" }, "recovery_uri"),
  ...(["beginTransfer", "switchToPostCopy"] as const).map(
    (rpc): WrongInput => ({
      rpc,
      what: "a guest that is not armed",
      changes: {},
      answer: ["FAILED_PRECONDITION", "NOT_ARMED", "fence.epoch"],
    }),
  ),
  invalid("followGuest", "a malformed migration id", { migrationId: "?" }, "migration_id"),
  {
    rpc: "followGuest",
    what: "a sequence far ahead of the agent's",
    changes: { afterSequence: 2n ** 63n },
    answer: ["OUT_OF_RANGE", "SEQUENCE_UNKNOWN", "after_sequence"],
  },
  {
    rpc: "getHandOff",
    what: "a guest that is unknown",
    changes: { guestId: "nobody" },
    answer: ["NOT_FOUND", "WORD_FORGOTTEN", "fence.epoch"],
  },
  {
    rpc: "getHandOff",
    what: "an epoch that nothing was armed under",
    changes: {},
    answer: ["NOT_FOUND", "WORD_FORGOTTEN", "fence.epoch"],
  },
  invalid("deliverHandOff", "no word", { handOff: undefined }, "hand_off", "REQUIRED"),
  invalid(
    "deliverHandOff",
    "another guest's word",
    { handOff: { ...HAND_OFF, guestId: "db" } },
    "hand_off.guest_id",
    "MISMATCH",
  ),
  invalid(
    "deliverHandOff",
    "a word of another epoch",
    { handOff: { ...HAND_OFF, fence: { epoch: 8n, revision: 1n } } },
    "hand_off.fence.epoch",
    "MISMATCH",
  ),
  {
    rpc: "deliverHandOff",
    what: "a word that nobody waits for",
    changes: {},
    answer: ["FAILED_PRECONDITION", "HAND_OFF_NOT_AWAITED", "hand_off"],
  },
  {
    rpc: "releaseSource",
    what: "a source that has its guest",
    changes: {},
    answer: ["FAILED_PRECONDITION", "NOT_HANDED_OFF", "instance_id"],
  },
  {
    rpc: "abortDestination",
    what: "an instance that has its guest and was never prepared",
    changes: {},
    answer: ["FAILED_PRECONDITION", "NOT_DESTINATION", "instance_id"],
  },
  {
    rpc: "handBack",
    what: "an unknown instance",
    changes: { instanceId: "i8" },
    answer: ["NOT_FOUND", "INSTANCE_UNKNOWN", "instance_id"],
  },
  {
    rpc: "pauseMigration",
    what: "a guest without a transfer",
    changes: {},
    answer: ["FAILED_PRECONDITION", "NOT_POST_COPY"],
  },
  {
    rpc: "recoverMigration",
    what: "an instance that received nothing",
    changes: {},
    answer: ["FAILED_PRECONDITION", "NOT_DESTINATION", "instance_id"],
  },
  invalid("removeOrphans", "neither names nor all", { deviceNames: [] }, "device_names", "REQUIRED"),
  invalid("removeOrphans", "names and all", { all: true }, "all", "NAMES_AND_ALL"),
  invalid("removeOrphans", "an empty name", { deviceNames: ["tap9", ""] }, "device_names[1]", "REQUIRED"),
  invalid(
    "removeOrphans",
    "an oversized name",
    { deviceNames: ["x".repeat(100_000)] },
    "device_names[0]",
    "DEVICE_NAME_TOO_LONG",
  ),
  {
    rpc: "startCpus",
    what: "an instance that was not adopted",
    changes: { guestId: "new", instanceId: "n1" },
    answer: ["FAILED_PRECONDITION", "NOT_ADOPTED", "instance_id"],
  },
  invalid("reportCpuState", "no CPU state", { cpuState: CpuState.UNSPECIFIED }, "cpu_state", "REQUIRED"),
  invalid("reportCpuState", "an unknown CPU state", { cpuState: UNKNOWN_ENUM }, "cpu_state", "UNKNOWN_VALUE"),
  invalid("reportCpuState", "an oversized run state", { runState: "x".repeat(100_000) }, "run_state"),
  invalid("reportCpuState", "a run state of running CPUs", { runState: "running" }, "run_state", "MISMATCH"),
  invalid("reportCpuState", "an unknown transfer status", { transferStatus: "x" }, "transfer_status"),
  invalid("reportCpuState", "a time before 1970", { observedAtUnixUs: -1n }, "observed_at_unix_us"),
  invalid(
    "reportCpuState",
    "a refusal of CPUs that run",
    { cpuState: CpuState.RUNNING, startRefusal: "no" },
    "start_refusal",
  ),
  {
    rpc: "reportCpuState",
    what: "a VMM that the agent drives",
    changes: {},
    answer: ["FAILED_PRECONDITION", "VMM_DRIVEN", "instance_id"],
  },
];

function tapValue() {
  const { device } = NEW_NIC;
  return device?.$case === "tapOnBridge" ? device.value : undefined;
}

function owner(told: Readonly<Record<string, unknown>>) {
  return { cpuState: CpuState.STOPPED, runState: "", incomingUri: "", transferStatus: "", ...told };
}

const folder = await mkdtemp(join(tmpdir(), "switchover-wrong-input-"));
const ends: (() => Promise<void> | void)[] = [() => rm(folder, { recursive: true, force: true })];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** A file of a socket whose process is gone. */
async function leaveDeadSocket(path: string): Promise<void> {
  const server = createServer().listen(`${path}.alive`);
  await once(server, "listening");
  linkSync(`${path}.alive`, path);
  server.close();
  await once(server, "close");
}

let served: Promise<Served> | undefined;

async function serve(): Promise<Served> {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0");
  kernel.addParent("up0");
  const clock = openHostClock();
  const vmms = new Map([
    ["/run/web.qmp", new PretendedVmm("running")],
    ["/run/db.qmp", new PretendedVmm("prelaunch")],
    ["/run/new.qmp", new PretendedVmm("inmigrate")],
  ]);
  const dead = join(folder, "dead.qmp");
  await leaveDeadSocket(dead);
  const ports = pretendedAgentPorts("ha", new MemoryJournals([]), new PretendedVmm("running"), {
    clock,
    journals: openJournalDirectory(folder),
    devices: { route: kernel, factory: kernel },
    openVmm: async (path, onEvent) =>
      vmms.get(path)?.open(onEvent) ??
      openQemu({ path: path === "/run/dead.qmp" ? dead : path, onEvent, clock, connectTimeoutMs: 500 }),
  });
  const agent = new HostAgent(ports);
  ends.push(() => agent.close());
  await agent.restored;
  const guests = [
    ["web", "i1", NIC],
    ["db", "d1", tapNic("net0", "52:54:00:00:00:11", "db0")],
    ["new", "n1", tapNic("net0", "52:54:00:00:00:21", "new0")],
  ] as const;
  for (const [guestId, instanceId, nic] of guests) {
    await agent.prepareNics({ guestId, instanceId, nics: [nic], validateOnly: false });
    if (guestId === "new") continue;
    await agent.adoptGuest({
      guestId,
      instanceId,
      qmpPath: `/run/${guestId}.qmp`,
      externalCpuSource: undefined,
    });
  }
  const server = await startGrpcServer({
    security: PLAINTEXT,
    targets: ["127.0.0.1:0"],
    services: [bindHostAgent(agent, SILENT, new AbortController().signal)],
    log: SILENT,
  });
  ends.push(() => server.close(100));
  const fingerprint = async (): Promise<string> => {
    const instances = await Promise.all(guests.map(([guestId]) => agent.getGuest({ guestId })));
    const journals = readdirSync(folder).filter((name) => name.endsWith(".journal"));
    return JSON.stringify(
      {
        kernel: [kernel.changes, kernel.renderEntries(), kernel.renderMacvtaps(), kernel.renderRouting()],
        guests: [(await agent.describe({})).guestIds, instances],
        commands: [...vmms.values()].map(({ commands }) => commands),
        journals: journals.map((name) => [name, readFileSync(join(folder, name), "utf8")]),
      },
      (_, value: unknown) => (typeof value === "bigint" ? String(value) : value),
    );
  };
  const target = server.targets[0] ?? assert.fail("no target");
  return { target, fingerprint };
}

describeWrongInput(
  { service: HostAgentServiceService, serviceName: HOST_AGENT_SERVICE, requests: REQUESTS, rows: ROWS },
  () => (served ??= serve()),
);
