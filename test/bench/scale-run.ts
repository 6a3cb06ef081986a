import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "nats";
import { FEED_STREAM, GUEST_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { CoordinatorProcess } from "../fleet/coordinator-process.ts";
import { Fleet } from "../fleet/fleet.ts";
import { findFreePorts } from "../fleet/free-ports.ts";
import { NatsNode } from "../fleet/nats-node.ts";
import type { FleetMode } from "../fleet/requested-migration.ts";
import { pollUntil } from "../lab/deadline.ts";
import { runFlow } from "./migration-flow.ts";
import { type Percentiles, percentilesOf } from "./percentiles.ts";

export interface ScaleSettings {
  readonly hosts: number;
  readonly concurrent: number;
  readonly migrations: number;
  readonly mode: FleetMode | "mixed";
  readonly copyMs: number;
  readonly fleetProcesses: number;
  /** Where the coordinator's CPU profile goes, where one is wanted. */
  readonly profileTo: string | undefined;
  readonly tell: (sentence: string) => void;
}

/** Names as the JSON line has them. */
export interface ScaleResult {
  readonly hosts: number;
  readonly concurrent: number;
  readonly concurrent_peak: number;
  readonly mode: string;
  readonly copy_ms: number;
  readonly migrations: number;
  readonly completed: number;
  readonly duration_s: number;
  readonly migrations_per_s: number;
  readonly phase_lag_ms: Percentiles;
  readonly step_lag_ms: Percentiles;
  readonly start_ms: Percentiles;
  readonly starts_repeated: number;
  readonly coordinator: {
    readonly cpu_s_per_migration: number;
    readonly cpu_percent: number;
    readonly idle_cpu_percent: number;
    readonly rss_mb_before: number;
    readonly rss_mb_peak: number;
    readonly rss_kb_per_concurrent: number;
  };
  /** Of the load itself, which shares the machine: all its processes together. */
  readonly fleet: {
    readonly cpu_percent: number;
    readonly idle_cpu_percent: number;
    readonly loop_delay_ms: Percentiles;
  };
  readonly nats: { readonly cpu_percent: number; readonly idle_cpu_percent: number };
  readonly nats_messages_per_migration: { readonly in: number; readonly out: number };
  /** Exact, whatever else the machine does: what the streams took. */
  readonly stored_per_migration: { readonly events: number; readonly commits: number };
  readonly agent_calls_per_migration: number;
  readonly alarms: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
  readonly machine: { readonly cpus: number; readonly load_average: number };
}

/** Twice as long as from one heartbeat of a host to its next. */
const IDLE_MS = 10_000;
const REGISTERED_WITHIN_MS = 120_000;
/** Of sentences that say the same. */
const FAULTS_TOLD = 20;
const SEED = 1;

/** One real coordinator and one nats-server of its own, with a fleet of pretended hosts around them; all of it is ended. */
export async function runScale(settings: ScaleSettings): Promise<ScaleResult> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-scale-"));
  const closing: (() => Promise<void> | void)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    return await run(settings, folder, (close) => closing.unshift(close));
  } finally {
    for (const close of closing) await close();
  }
}

async function run(
  settings: ScaleSettings,
  folder: string,
  onClose: (close: () => Promise<void> | void) => void,
): Promise<ScaleResult> {
  const { concurrent, copyMs, fleetProcesses, hosts, migrations, profileTo, tell } = settings;
  const [nats] = await NatsNode.plan(1, folder);
  if (nats === undefined) throw new Error("There is no NATS.");
  onClose(() => nats.end());
  nats.start();
  await nats.whenReady();
  const nodeFlags = profileTo === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profileTo];
  const identity = { coordinatorId: "scale", natsUrl: nats.url, natsReplicas: 1 };
  const coordinator = new CoordinatorProcess({ ...identity, folder, nodeFlags });
  onClose(() => coordinator.close());
  onClose(() => coordinator.end());
  coordinator.start();
  await coordinator.whenReady();

  tell(`Starting ${hosts} hosts in ${fleetProcesses} processes.`);
  const [port = 0] = await findFreePorts(1);
  const where = { natsUrl: nats.url, hosts, processes: fleetProcesses, port };
  const fleet = await Fleet.start({ ...where, seed: SEED, copyMs: [copyMs, copyMs], pagesMs: copyMs });
  onClose(() => fleet.close());
  await allRegistered(nats.url, hosts);
  tell(`Booting ${migrations} guests.`);
  const guests = await fleet.prepare(Array.from({ length: migrations }, (_, index) => `guest-${index}`));
  await fleet.report();

  const idle = await measure(coordinator, nats, () => delay(IDLE_MS));
  const idleReport = await fleet.report();
  const { now: rssBeforeMb } = coordinator.residentMb();
  const storedBefore = await storedIn(nats.url);
  tell(`Migrating ${migrations} guests, ${concurrent} at a time.`);
  const busy = await measure(coordinator, nats, () =>
    runFlow({
      client: coordinator.client,
      natsUrl: nats.url,
      guests,
      modeOf: (index) => modeAt(settings.mode, index),
      concurrent,
      rampMs: copyMs,
      silentForMs: 60_000 + 2 * copyMs,
      onEnd: () => {},
    }),
  );
  const flow = busy.value;
  const { peak: rssPeakMb } = coordinator.residentMb();
  const report = await fleet.report();
  const stored = await storedIn(nats.url);
  const misplaced = await findMisplaced(fleet, guests);
  const faults = [...flow.others, ...report.violations, ...misplaced];
  return {
    hosts,
    concurrent,
    concurrent_peak: flow.peakConcurrent,
    mode: settings.mode,
    copy_ms: copyMs,
    migrations,
    completed: flow.completed,
    duration_s: rounded(flow.durationS),
    migrations_per_s: rounded(migrations / flow.durationS),
    phase_lag_ms: percentilesOf(report.phaseLagsMs),
    step_lag_ms: percentilesOf(report.stepLagsMs),
    start_ms: percentilesOf(flow.startMs),
    starts_repeated: flow.repeats,
    coordinator: {
      cpu_s_per_migration: Math.round((1e5 * busy.cpuS) / migrations) / 1e5,
      cpu_percent: rounded((100 * busy.cpuS) / busy.seconds),
      idle_cpu_percent: rounded((100 * idle.cpuS) / idle.seconds),
      rss_mb_before: rounded(rssBeforeMb),
      rss_mb_peak: rounded(rssPeakMb),
      rss_kb_per_concurrent: rounded((1_024 * Math.max(0, rssPeakMb - rssBeforeMb)) / concurrent),
    },
    fleet: {
      cpu_percent: rounded((100 * report.cpuS) / busy.seconds),
      idle_cpu_percent: rounded((100 * idleReport.cpuS) / idle.seconds),
      loop_delay_ms: percentilesOf(report.loopDelaysMs),
    },
    nats: {
      cpu_percent: rounded((100 * busy.natsCpuS) / busy.seconds),
      idle_cpu_percent: rounded((100 * idle.natsCpuS) / idle.seconds),
    },
    nats_messages_per_migration: {
      in: rounded((busy.natsIn - (idle.natsIn * busy.seconds) / idle.seconds) / migrations),
      out: rounded((busy.natsOut - (idle.natsOut * busy.seconds) / idle.seconds) / migrations),
    },
    stored_per_migration: {
      events: rounded((stored.events - storedBefore.events) / migrations),
      commits: rounded((stored.commits - storedBefore.commits) / migrations),
    },
    agent_calls_per_migration: rounded(sum(Object.values(report.calls)) / migrations),
    alarms: report.alarms,
    faults: faults.slice(0, FAULTS_TOLD),
    machine: { cpus: availableParallelism(), load_average: rounded(loadavg()[0] ?? 0) },
  };
}

function modeAt(mode: ScaleSettings["mode"], index: number): FleetMode {
  // By fours: the fleet's processes take guests in turns.
  if (mode === "mixed") return index % 4 < 2 ? "live" : "post-copy";
  return mode;
}

/** Each has sent a heartbeat within the last 15 s, as long as the bucket keeps them. */
async function allRegistered(natsUrl: string, hosts: number): Promise<void> {
  const connection = await connect({ servers: natsUrl, name: "scale bench" });
  try {
    const { streams } = await connection.jetstreamManager({ checkAPI: false });
    const isComplete = async (): Promise<true | undefined> => {
      const { state } = await streams.info(`KV_${HOST_BUCKET}`);
      return state.messages >= hosts ? true : undefined;
    };
    await pollUntil(isComplete, REGISTERED_WITHIN_MS, `The registration of ${hosts} hosts`, 200);
  } finally {
    await connection.close();
  }
}

/** How much the feed and the guests' records have ever taken. */
async function storedIn(natsUrl: string): Promise<{ readonly events: number; readonly commits: number }> {
  const connection = await connect({ servers: natsUrl, name: "scale bench" });
  try {
    const { streams } = await connection.jetstreamManager({ checkAPI: false });
    const lastOf = async (stream: string) => (await streams.info(stream)).state.last_seq;
    return { events: await lastOf(FEED_STREAM), commits: await lastOf(`KV_${GUEST_BUCKET}`) };
  } finally {
    await connection.close();
  }
}

/** What the coordinator's CPU and NATS had to do for it. */
async function measure<T>(coordinator: CoordinatorProcess, nats: NatsNode, work: () => Promise<T>) {
  const trafficBefore = await nats.traffic();
  const before = { cpuS: coordinator.cpuSeconds(), natsCpuS: nats.cpuSeconds(), ms: performance.now() };
  const value = await work();
  const traffic = await nats.traffic();
  return {
    value,
    seconds: (performance.now() - before.ms) / 1_000,
    cpuS: coordinator.cpuSeconds() - before.cpuS,
    natsCpuS: nats.cpuSeconds() - before.natsCpuS,
    natsIn: traffic.in_msgs - trafficBefore.in_msgs,
    natsOut: traffic.out_msgs - trafficBefore.out_msgs,
  };
}

async function findMisplaced(
  fleet: Fleet,
  guests: readonly { readonly guestId: string }[],
): Promise<readonly string[]> {
  const found = await fleet.find(guests.map(({ guestId }) => guestId));
  return found.flatMap(({ guestId, registered, runs }) =>
    runs === "destination" && registered === "destination"
      ? []
      : [`${guestId} runs at ${runs} and is registered at ${registered}.`],
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
