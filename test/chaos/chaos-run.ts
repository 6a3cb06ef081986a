import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isTerminal } from "../../coordinator/migration/phase-edges.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { type Percentiles, percentilesOf } from "../bench/percentiles.ts";
import { CoordinatorProcess } from "../fleet/coordinator-process.ts";
import { Fleet } from "../fleet/fleet.ts";
import { findFreePorts } from "../fleet/free-ports.ts";
import { NatsNode } from "../fleet/nats-node.ts";
import { pollUntil } from "../lab/deadline.ts";
import { Random } from "../simulation/engine/random.ts";
import { Asking } from "./asking.ts";
import { endLagsOf } from "./end-lags.ts";
import { FeedReader, type ReadMessage } from "./feed-reader.ts";
import { type ChaosMigration, eventsByGuest, judgeMigration, judgeReaders } from "./judge-chaos.ts";
import { KeptProgram } from "./kept-program.ts";

export interface ChaosSettings {
  readonly seed: number;
  /** Under way when the first program is killed; a fifth as many more are asked for while programs are killed. */
  readonly migrations: number;
  /** How long programs are killed for. */
  readonly seconds: number;
  readonly hosts: number;
  /** Where logs and the feed are left when something is wrong. */
  readonly keepIn: string | undefined;
  readonly tell: (sentence: string) => void;
}

export interface ChaosResult {
  readonly seed: number;
  readonly migrations: number;
  readonly kills: Readonly<Record<string, number>>;
  readonly ended_by_itself: Readonly<Record<string, number>>;
  /** By phase and outcome. */
  readonly ends: Readonly<Record<string, number>>;
  readonly feed_messages: number;
  /** From the last kill to the last migration's end; guests whose memory is still copied take their time. */
  readonly healed_ms: number;
  /** From the last that an agent said about a migration to its end. */
  readonly end_lag_ms: Percentiles;
  readonly alarms: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
}

const SERVERS = 3;
const COORDINATORS = 3;
const STRIKE_EVERY_MS = 1_000;
/** How long a killed program is away. */
const AWAY_MS = [100, 1_500] as const;
/** After the last kill all is well again: the longest copy, and what a command is tried for. */
const ENDS_WITHIN_MS = 180_000;
const READY_WITHIN_MS = 60_000;
/** So long asking for one takes on a busy machine. */
const ASKED_WITHIN_MS = 60;

type Close = () => Promise<unknown> | undefined;
type OnClose = (close: Close) => void;

/**
 * Three nats-servers, three coordinators, a fleet of pretended hosts; any of the six is killed every second, and started
 * again as a service manager does. Then it is left alone, and all that came of it is judged. Nothing is left behind.
 */
export async function runChaos(settings: ChaosSettings): Promise<ChaosResult> {
  // Never one of an earlier run: its store would be read.
  const folder = await mkdtemp(join(settings.keepIn ?? tmpdir(), "switchover-chaos-"));
  settings.tell(`Logs and stores are in ${folder}.`);
  const closing: Close[] = [];
  if (settings.keepIn === undefined) closing.push(() => rm(folder, { recursive: true, force: true }));
  try {
    return await run(settings, folder, (close) => closing.unshift(close));
  } finally {
    for (const close of closing) await close();
  }
}

async function run(settings: ChaosSettings, folder: string, onClose: OnClose): Promise<ChaosResult> {
  const { hosts, migrations, seconds, seed, tell } = settings;
  const random = new Random(seed, 1);
  const { servers, natsUrl } = await startServers(folder, onClose);
  const coordinators = startCoordinators(natsUrl, folder, onClose);
  await Promise.all(coordinators.map((coordinator) => coordinator.whenReady()));
  tell(`${SERVERS} nats-servers and ${COORDINATORS} coordinators run.`);

  const ended = new Set<string>();
  const onMessage = ({ body }: ReadMessage): void => void noteEnd(body, ended);
  const present = await FeedReader.open(natsUrl.split(","), onMessage);
  onClose(() => present.close());
  const [port = 0] = await findFreePorts(1);
  // None is to end before all have begun, and some are to end in each second after that.
  const leastMs = Math.max(2_000, migrations * ASKED_WITHIN_MS);
  const times = { copyMs: [leastMs, leastMs + (seconds + 5) * 1_000], pagesMs: 5_000 } as const;
  const fleet = await Fleet.start({ natsUrl, hosts, port, seed, ...times });
  onClose(() => fleet.close());
  const late = Math.ceil(migrations / 5);
  const ids = Array.from({ length: migrations + late }, (_, index) => `guest-${index}`);
  const guests = await fleet.prepare(ids);
  tell(`${guests.length} guests run on ${hosts} hosts.`);

  const clients = coordinators.map(({ client }) => client);
  const asking = new Asking(clients, guests);
  await asking.askAll(ids.slice(0, migrations));
  tell(`${migrations} migrations are asked for, ${ended.size} have ended; programs are killed from now on.`);
  const kept = [
    ...servers.map((server) => new KeptProgram(server.name, server)),
    ...coordinators.map((coordinator) => new KeptProgram(coordinator.coordinatorId, coordinator)),
  ];
  onClose(() => Promise.all(kept.map((program) => program.letGo())));
  const [kills] = await Promise.all([
    strike(kept, seconds, random),
    asking.askSpread(ids.slice(migrations), seconds * 1_000),
  ]);
  const lastKillMs = performance.now();
  tell(`${ended.size} of ${ids.length} migrations have ended; nobody is killed any more.`);

  await Promise.all([...servers, ...coordinators].map((program) => program.whenReady(READY_WITHIN_MS)));
  const faults: string[] = [];
  await pollUntil(() => ended.size >= ids.length || undefined, ENDS_WITHIN_MS, "The end of all", 100).catch(
    () => faults.push(`${ids.length - ended.size} migrations have not ended.`),
  );
  const healedMs = Math.round(performance.now() - lastKillMs);
  await asking.askAll(ids);
  const unsent = await fleet.unsent();
  if (unsent > 0) faults.push(`I7: agents have ${unsent} events that the feed lacks.`);

  const later = await readAll(natsUrl);
  await caughtUp(present, later.at(-1)?.position ?? 0, faults);
  faults.push(...judgeReaders(present.messages, later));
  const found = await fleet.find(ids);
  const events = eventsByGuest(later);
  const ends: Record<string, number> = {};
  for (const guestId of ids) {
    const migration: ChaosMigration = {
      guestId,
      migrationIds: asking.answers.get(guestId) ?? [],
      told: await askEach(coordinators, asking.answers.get(guestId)?.[0] ?? "", faults),
      found: found.find((guest) => guest.guestId === guestId),
    };
    const [told] = migration.told;
    const end = `${told?.phase} ${told?.outcome} ${told?.reasonCode}`;
    ends[end] = (ends[end] ?? 0) + 1;
    faults.push(...judgeMigration(migration, events.get(guestId) ?? []));
  }
  const report = await fleet.report();
  faults.push(...report.violations);
  const endedByItself = Object.fromEntries(kept.map((program) => [program.name, program.endedByItself]));
  return {
    seed,
    migrations: ids.length,
    kills,
    ended_by_itself: endedByItself,
    ends,
    feed_messages: later.length,
    healed_ms: healedMs,
    end_lag_ms: percentilesOf(endLagsOf(later)),
    alarms: report.alarms,
    faults,
  };
}

async function startServers(folder: string, onClose: OnClose) {
  const servers = await NatsNode.plan(SERVERS, folder);
  for (const server of servers) {
    onClose(() => server.kill());
    server.start();
  }
  await Promise.all(servers.map((server) => server.whenReady(READY_WITHIN_MS)));
  return { servers, natsUrl: servers.map(({ url }) => url).join(",") };
}

function startCoordinators(natsUrl: string, folder: string, onClose: OnClose): readonly CoordinatorProcess[] {
  return Array.from({ length: COORDINATORS }, (_, index) => {
    const coordinatorId = `coordinator-${index + 1}`;
    const coordinator = new CoordinatorProcess({ coordinatorId, natsUrl, natsReplicas: SERVERS, folder });
    onClose(async () => coordinator.close());
    onClose(() => coordinator.kill());
    coordinator.start();
    return coordinator;
  });
}

/** Kills one a second; how often each. */
async function strike(
  kept: readonly KeptProgram[],
  seconds: number,
  random: Random,
): Promise<Record<string, number>> {
  const kills: Record<string, number> = {};
  const beganMs = performance.now();
  for (let strikes = 1; strikes <= seconds; strikes += 1) {
    const victim = kept[random.below(kept.length)];
    const awayMs = random.spread(...AWAY_MS);
    if (victim === undefined) break;
    kills[victim.name] = (kills[victim.name] ?? 0) + 1;
    await victim.kill(awayMs);
    await delay(Math.max(0, beganMs + strikes * STRIKE_EVERY_MS - performance.now()));
  }
  return kills;
}

function noteEnd(body: string, ended: Set<string>): void {
  if (!body.includes('"phaseChanged"')) return;
  const { event, migrationId } = FeedEvent.fromJSON(JSON.parse(body));
  if (event?.$case === "phaseChanged" && isTerminal(event.value.to)) ended.add(migrationId);
}

/** The whole stream, by one who comes now. */
async function readAll(natsUrl: string): Promise<readonly ReadMessage[]> {
  const later = await FeedReader.open(natsUrl.split(","));
  try {
    const last = await later.lastPosition();
    await pollUntil(() => later.position >= last || undefined, READY_WITHIN_MS, "The replay of the feed", 50);
    return [...later.messages];
  } finally {
    await later.close();
  }
}

async function caughtUp(reader: FeedReader, position: number, faults: string[]): Promise<void> {
  const what = "The observer's reading of the last message";
  await pollUntil(() => reader.position >= position || undefined, READY_WITHIN_MS, what, 50).catch(() =>
    faults.push(`I7: the observer is at ${reader.position} of ${position} messages.`),
  );
}

/** What each coordinator says of the migration. */
async function askEach(
  coordinators: readonly CoordinatorProcess[],
  migrationId: string,
  faults: string[],
): Promise<readonly Migration[]> {
  const told: Migration[] = [];
  for (const { client, coordinatorId } of coordinators) {
    try {
      const answer = await callUnary(client, methods.getMigration, { migrationId }, { timeoutMs: 5_000 });
      if (answer.migration !== undefined) told.push(answer.migration);
    } catch (thrown) {
      faults.push(
        `${coordinatorId} does not tell of ${migrationId}: ${SwitchoverError.from(thrown).message}`,
      );
    }
  }
  return told;
}
