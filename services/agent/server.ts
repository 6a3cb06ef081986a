import { readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { createAnnouncer } from "../../agent/announce/announcer.ts";
import { openBridgePorts } from "../../agent/announce/bridge-ports.ts";
import { packetPort } from "../../agent/announce/packet-socket.ts";
import { ExpeditedRoute } from "../../agent/device/expedited-route.ts";
import { openGracePeriods } from "../../agent/device/grace-periods.ts";
import { deviceFactory } from "../../agent/device/tap-creation.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import { rehearseSwitchovers } from "../../agent/guest/rehearsal.ts";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import { AsideRoute } from "../../agent/netlink/aside-route.ts";
import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import { openRouteSocket } from "../../agent/netlink/route-socket.ts";
import { openTableReader } from "../../agent/netlink/table-reader.ts";
import { openQemu } from "../../agent/vmm/qemu.ts";
import { readProcessLife } from "../../agent/vmm/vmm-process.ts";
import { type HostClock, openHostClock } from "../clock/host-clock.ts";
import { lockFolder } from "../folder/lock-folder.ts";
import { makeFolder } from "../folder/make-folder.ts";
import { type GrpcServer, startGrpcServer } from "../grpc/server.ts";
import type { Log } from "../log/log.ts";
import { withTraceIds } from "../log/with-trace-ids.ts";
import { meterCalls } from "../metrics/meter-calls.ts";
import { meterNats } from "../metrics/meter-nats.ts";
import { meterSecurity } from "../metrics/meter-security.ts";
import { Metrics } from "../metrics/metrics.ts";
import { type MetricsServer, serveMetrics } from "../metrics/metrics-server.ts";
import { NatsLink } from "../nats/connection.ts";
import { NatsFeedStream } from "../nats/feed-stream.ts";
import { NatsHandOffBus } from "../nats/hand-off-bus.ts";
import { startHeartbeat } from "../nats/host-registry.ts";
import { readVersion } from "../program/version.ts";
import { closeSecurity, openSecurity } from "../tls/tls-settings.ts";
import { MigrationTraces } from "../trace/migration-traces.ts";
import { AgentMetrics, meterCensus } from "./agent-metrics.ts";
import { AGENT_CAPABILITIES } from "./capabilities.ts";
import { applyCpuPriority } from "./cpu-priority.ts";
import { bindHostAgent } from "./host-agent-service.ts";
import { meteredJournals } from "./metered-journals.ts";
import { meterQmp } from "./metered-qmp.ts";
import { MeteredRoute } from "./metered-route.ts";
import { notingTraces } from "./note-traces.ts";
import { rehearseMetrics } from "./rehearse-metrics.ts";
import type { AgentValues } from "./settings.ts";

const QMP_CONNECT_TIMEOUT_MS = 2_000;
const CALL_GRACE_MS = 1_500;
const FEED_GRACE_MS = 1_500;

/** For tests that force an instant: what runs at each line of every gate. */
export type AgentHooks = Pick<HostAgentPorts, "beforeOperation">;

/** An agent that answers. */
export interface AgentServer {
  /** The target that it listens on, with the port that was picked. */
  readonly target: string;
  /** Where its metrics are; undefined where they are not served. */
  readonly metricsUrl: string | undefined;
  /** Ends calls and streams, then the link to NATS. Guests and their registrations stay as they are. */
  close(): Promise<void>;
}

/**
 * Starts one host's agent: the lock of its state directory, netlink, journals, gRPC, then the heartbeat, so that whoever
 * finds the host in the registry gets an answer. Does not wait for NATS. Devices are those of the calling thread's
 * network namespace. Throws, naming the flag, INVALID_ARGUMENT where the state directory cannot be made and
 * FAILED_PRECONDITION / STATE_DIR_IN_USE where another agent has it.
 */
export async function startAgentServer(
  values: AgentValues,
  log: Log,
  hooks: AgentHooks = {},
): Promise<AgentServer> {
  const stateDirectory = values["state-dir"];
  const spoolDirectory = join(stateDirectory, "feed");
  const field = "--state-dir";
  await makeFolder(spoolDirectory, { field, mode: 0o700 });
  const lock = lockFolder(stateDirectory, { field, holder: "agent", reason: "STATE_DIR_IN_USE" });
  try {
    const server = await startOn(stateDirectory, spoolDirectory, values, log, hooks);
    return { ...server, close: () => server.close().finally(lock.release) };
  } catch (thrown) {
    lock.release();
    throw thrown;
  }
}

/** With a state directory that is this agent's alone. */
async function startOn(
  stateDirectory: string,
  spoolDirectory: string,
  values: AgentValues,
  untracedLog: Log,
  hooks: AgentHooks,
): Promise<AgentServer> {
  const traces = new MigrationTraces();
  const log = withTraceIds(untracedLog, traces);
  applyCpuPriority(values["cpu-priority"], log);
  const version = readVersion();
  const clock = openHostClock();
  const metrics = new Metrics();
  const security = openSecurity(values, { roles: ["agent"], name: values["host-id"] }, log);
  const onConnectionRefused = meterSecurity(metrics, security);
  const link = NatsLink.open({ url: values["nats-url"], name: `agent ${values["host-id"]}`, log });
  meterNats(metrics, link);
  const handOffs = new NatsHandOffBus(link, log);
  const route = new MeteredRoute(openRouteSocket(), metrics);
  const qmp = meterQmp(metrics);
  const kernelChanges = openChangeSocket();
  const tables = openTableReader();
  const bridgePorts = openBridgePorts(clock);
  rehearseSwitchovers();
  rehearseMetrics();
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  // Opened in any case: what an agent before this one left set is put back.
  const gracePeriods = openGracePeriods({
    switchPath: "/sys/kernel/rcu_expedited",
    memoPath: join(stateDirectory, "rcu-expedited"),
    bootId,
    log,
  });
  const expedites = values["expedite-rcu"] !== "never";
  const deviceRoute = new AsideRoute({
    route: expedites ? new ExpeditedRoute(route, gracePeriods) : route,
    hurry: () => (expedites ? gracePeriods.hold() : () => undefined),
    log,
  });
  const agent = new HostAgent({
    hostId: values["host-id"],
    version,
    kernelRelease: release(),
    bootId,
    migrationAddress: values["migration-address"],
    ...(values["migration-tls-dir"] === undefined
      ? {}
      : {
          transferCertificates: {
            folder: values["migration-tls-dir"],
            subject: values["migration-tls-subject"],
          },
        }),
    journals: meteredJournals(openJournalDirectory(stateDirectory), metrics),
    clock,
    log,
    handOffs,
    spool: openSpoolDirectory(spoolDirectory),
    feed: new NatsFeedStream(link),
    meter: new AgentMetrics(metrics, { hostId: values["host-id"], version }),
    traces,
    devices: { route: deviceRoute, factory: deviceFactory, tables },
    kernelChanges,
    ...(values.announcements === "vmm"
      ? {}
      : { announcer: createAnnouncer({ route, bridgePorts, packets: packetPort, log }) }),
    ...(values["remove-orphans-after-ms"] === undefined
      ? {}
      : { removeOrphansAfterMs: values["remove-orphans-after-ms"] }),
    ...(values["stay-registered-for"] === undefined
      ? {}
      : { staysRegisteredFor: values["stay-registered-for"] }),
    processLife: readProcessLife,
    openVmm: (path, onEvent) =>
      qmp.connecting(() =>
        openQemu({
          path,
          onEvent,
          clock,
          meter: qmp.commands,
          connectTimeoutMs: QMP_CONNECT_TIMEOUT_MS,
        }),
      ),
    ...hooks,
  });
  meterCensus(metrics, agent.census(), () => clock.unixUs());
  const refusals = metrics.tally({
    name: "switchover_agent_preflight_refusals_total",
    help: "What preflights of migrations found wrong on this host, by reason.",
    labels: ["reason"],
  });
  let metricsServer: MetricsServer | undefined;
  const closeAgent = async (): Promise<void> => {
    const unsent = await agent.feedDrained(FEED_GRACE_MS);
    if (unsent > 0) log.warn({ unsent }, "Events wait in the spool for the next start.");
    agent.close();
    kernelChanges.close();
    bridgePorts.close();
    tables.close();
    deviceRoute.close();
    gracePeriods.close();
    route.close();
    handOffs.close();
    await link.close();
    await metricsServer?.close();
    closeSecurity(security);
  };
  const ending = new AbortController();
  let server: GrpcServer;
  try {
    metricsServer = await serveMetrics(metrics, values["metrics-listen"], log);
    server = await startGrpcServer({
      targets: [values.listen],
      services: [notingTraces(bindHostAgent(agent, log, ending.signal, refusals), traces)],
      log,
      security,
      meter: meterCalls(metrics),
      onConnectionRefused,
    });
  } catch (thrown) {
    await closeAgent();
    throw thrown;
  }
  const target = server.targets[0] ?? values.listen;
  const endHeartbeat = startHeartbeat(link, log, () => heartbeat(values, target, version, clock));
  log.info({ target, advertised: values.advertise ?? target }, "The agent listens.");
  return {
    target,
    metricsUrl: metricsServer?.url,
    close: async () => {
      await endHeartbeat();
      ending.abort();
      await server.close(CALL_GRACE_MS);
      await closeAgent();
    },
  };
}

function heartbeat(values: AgentValues, target: string, version: string, clock: HostClock) {
  return {
    hostId: values["host-id"],
    target: values.advertise ?? target,
    version,
    heartbeatAtUnixUs: BigInt(clock.unixUs()),
    capabilities: AGENT_CAPABILITIES,
  };
}
