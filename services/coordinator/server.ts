import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { Admission } from "../../coordinator/admission/admission.ts";
import { DrainApi } from "../../coordinator/drain/drain-api.ts";
import { DrainRunner } from "../../coordinator/drain/drain-runner.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { InventoryApi } from "../../coordinator/inventory-api.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { invalidArgument } from "../../proto/error.ts";
import { openHostClock } from "../clock/host-clock.ts";
import { lockFolder } from "../folder/lock-folder.ts";
import { makeFolder } from "../folder/make-folder.ts";
import { startGrpcServer } from "../grpc/server.ts";
import type { Log } from "../log/log.ts";
import { withTraceIds } from "../log/with-trace-ids.ts";
import { withoutCredentials } from "../log/without-credentials.ts";
import { meterAgentCalls, meterCalls } from "../metrics/meter-calls.ts";
import { meterNats } from "../metrics/meter-nats.ts";
import { meterSecurity } from "../metrics/meter-security.ts";
import { Metrics } from "../metrics/metrics.ts";
import { serveMetrics } from "../metrics/metrics-server.ts";
import { NatsLink } from "../nats/connection.ts";
import { CoordinatorPresence } from "../nats/coordinator-presence.ts";
import { NatsDrainStore } from "../nats/drain-store.ts";
import { FeedConsumer } from "../nats/feed-consumer.ts";
import { NatsGuestRecordStore } from "../nats/guest-record-store.ts";
import { NatsHostCatalogue } from "../nats/host-catalogue.ts";
import { HostRegistry } from "../nats/host-registry.ts";
import { NatsPhaseFeed } from "../nats/phase-feed.ts";
import { NatsRecordCatalogue } from "../nats/record-catalogue.ts";
import { NatsSlotStore } from "../nats/slot-store.ts";
import { ensureStores } from "../nats/streams.ts";
import { untilAvailable } from "../nats/until-available.ts";
import { OwnNatsServer } from "../nats-server/own-nats-server.ts";
import { readVersion } from "../program/version.ts";
import { closeSecurity, openSecurity } from "../tls/tls-settings.ts";
import { MigrationTraces } from "../trace/migration-traces.ts";
import { admissionLimitsIn, moveBudgetIn } from "./admission-settings.ts";
import { AgentClients } from "./agent-clients.ts";
import { CoordinatorMetrics, meterCensus } from "./coordinator-metrics.ts";
import { FencingCommand } from "./fencing-command.ts";
import { meterDrains } from "./meter-drains.ts";
import { meterFeedLag } from "./meter-feed-lag.ts";
import { meteredFencing, meteredStore } from "./metered-ports.ts";
import { bindMigrationApi } from "./migration-service.ts";
import type { CoordinatorValues } from "./settings.ts";

const NATS_TIMEOUT_MS = 30_000;
const CALL_GRACE_MS = 1_000;
const CONSUMER_GRACE_MS = 500;

/** A coordinator that answers. */
export interface CoordinatorServer {
  /** The targets that it listens on, with the ports that were picked. */
  readonly targets: readonly string[];
  /** Where its NATS is, its own server's address included. */
  readonly natsUrl: string;
  /** Where its metrics are; undefined where they are not served. */
  readonly metricsUrl: string | undefined;
  /** Lets go of migrations where they stand, then ends calls, the link and its own nats-server, in this order. */
  close(): Promise<void>;
}

/**
 * Starts a coordinator: NATS (its own where no address is given), streams, the migrations that were left, the feed, and
 * gRPC last, so that whoever gets an answer gets it from all of it. Throws where NATS does not serve within 30 s, what
 * `stop` says as soon as that aborts, and INVALID_ARGUMENT, naming the flag, for one that cannot be used on this host;
 * what was opened is closed then.
 */
export async function startCoordinatorServer(
  values: CoordinatorValues,
  log: Log,
  stop: AbortSignal = new AbortController().signal,
): Promise<CoordinatorServer> {
  const opened: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (let end = opened.pop(); end !== undefined; end = opened.pop()) await end();
  };
  try {
    return { ...(await open(values, log, (end) => opened.push(end), stop)), close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

type OnClose = (end: () => Promise<void> | void) => void;

async function open(values: CoordinatorValues, untracedLog: Log, onClose: OnClose, stop: AbortSignal) {
  const traces = new MigrationTraces();
  const log = withTraceIds(untracedLog, traces);
  await checkFenceCommand(values["fence-command"]);
  const security = openSecurity(values, { roles: ["coordinator"], name: values["coordinator-id"] }, log);
  onClose(() => closeSecurity(security));
  const natsUrl = values["nats-url"] ?? (await startOwnNats(values, log, onClose, stop));
  const link = NatsLink.open({ url: natsUrl, name: `coordinator ${values["coordinator-id"]}`, log });
  onClose(() => link.close());
  const metrics = new Metrics();
  meterNats(metrics, link);
  const onConnectionRefused = meterSecurity(metrics, security);
  const connection = await unlessAborted(link.whenReachable(NATS_TIMEOUT_MS), stop);
  const retention = { days: values["history-days"], migrations: values["history-migrations"] };
  const makeStores = () => ensureStores(connection, values["nats-replicas"], retention);
  await unlessAborted(untilAvailable(NATS_TIMEOUT_MS, stop, makeStores), stop);

  const clock = openHostClock();
  const store = meteredStore(new NatsGuestRecordStore(link, values["coordinator-id"]), metrics);
  const hosts = new HostRegistry(link, log);
  onClose(() => hosts.close());
  const agents = new AgentClients(hosts, security, meterAgentCalls(metrics));
  onClose(() => agents.close());
  const fencing = new FencingCommand({
    path: values["fence-command"],
    timeoutMs: values["fence-timeout-ms"],
    environment: process.env,
    log,
  });
  onClose(() => fencing.close());
  const peers = new CoordinatorPresence(link, values["coordinator-id"], log);
  // Once the runner has let go of its migrations.
  onClose(() => peers.leave());
  const leaving = new AbortController();
  onClose(() => leaving.abort());
  const slots = new NatsSlotStore(link);
  const limits = admissionLimitsIn(values);
  const draining = new DrainingHosts();
  const admission = new Admission({ slots, store, clock, log, draining }, limits, leaving.signal);
  const runner = new MigrationRunner(
    {
      store,
      agents,
      feed: new NatsPhaseFeed(link),
      fencing: meteredFencing(fencing, metrics),
      admission,
      clock,
      log,
      peers,
      traces,
      meter: new CoordinatorMetrics(metrics),
    },
    { fenceAfterMs: values["fence-after-ms"] },
  );
  meterCensus(metrics, {
    coordinatorId: values["coordinator-id"],
    version: readVersion(),
    limits,
    census: () => admission.census(),
    driven: () => runner.drivenCount,
  });
  onClose(() => runner.close());
  const resume = () => runner.resume();
  const resumed = await unlessAborted(untilAvailable(NATS_TIMEOUT_MS, stop, resume), stop);
  peers.arrive();
  if (resumed > 0) log.info({ migrations: resumed }, "Took up migrations that had not ended.");
  const consumer = new FeedConsumer(
    link,
    values["coordinator-id"],
    async (event) => runner.onFeedEvent(event),
    log,
    (place) => runner.awaits(place),
  );
  onClose(() => consumer.close(CONSUMER_GRACE_MS));
  meterFeedLag(metrics, consumer);

  meterDrains(metrics, draining);
  const api = new MigrationApi({
    store,
    hosts,
    agents,
    clock,
    random: Math.random,
    runner,
    admission,
    draining,
    moveBudget: moveBudgetIn(values),
  });
  const inventory = new InventoryApi({
    catalogue: new NatsRecordCatalogue(link),
    hosts: new NatsHostCatalogue(link),
    store,
    admission,
    clock,
  });
  const drainStore = new NatsDrainStore(link);
  const drainPorts = { store: drainStore, hosts: agents, migrations: api, draining, clock, log };
  const drainRunner = new DrainRunner(drainPorts, randomUUID(), leaving.signal);
  const drains = new DrainApi({
    store: drainStore,
    hosts,
    runner: drainRunner,
    draining,
    clock,
    random: Math.random,
  });
  const ending = new AbortController();
  stop.throwIfAborted();
  const metricsServer = await serveMetrics(metrics, values["metrics-listen"], log);
  onClose(() => metricsServer?.close());
  const server = await startGrpcServer({
    targets: values.listen,
    services: [bindMigrationApi(api, inventory, drains, log, ending.signal)],
    log,
    security,
    meter: meterCalls(metrics),
    onConnectionRefused,
  });
  onClose(() => server.close(CALL_GRACE_MS));
  onClose(() => ending.abort());
  log.info({ targets: server.targets, nats_url: withoutCredentials(natsUrl) }, "The coordinator listens.");
  return { targets: server.targets, natsUrl, metricsUrl: metricsServer?.url };
}

/** A fencing command that cannot be run is found out now, and not when a host is to be fenced. */
async function checkFenceCommand(path: string | undefined): Promise<void> {
  if (path === undefined) return;
  try {
    await access(path, constants.X_OK);
  } catch {
    throw invalidArgument("--fence-command", `--fence-command: "${path}" cannot be run.`);
  }
}

/** What the work comes to, or the signal's reason as soon as that aborts; nobody hears then how the work ends. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

async function startOwnNats(
  values: CoordinatorValues,
  log: Log,
  onClose: OnClose,
  signal: AbortSignal,
): Promise<string> {
  const folder = join(values["data-dir"], "nats");
  const field = "--data-dir";
  await makeFolder(folder, { field, mode: 0o755 });
  // Else the nats-server of a coordinator that lives would be taken for one that was left behind.
  const lock = lockFolder(folder, { field, holder: "coordinator", reason: "DATA_DIR_IN_USE" });
  onClose(() => lock.release());
  const server = await OwnNatsServer.start({ ...values["nats-listen"], folder, log, signal });
  onClose(() => server.close());
  return server.url;
}
