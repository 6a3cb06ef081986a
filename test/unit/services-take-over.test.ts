/** Three coordinators, as processes on one nats-server, and two agents: a coordinator ends, and another one goes on. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import type { Client } from "@grpc/grpc-js";
import { TAKEN_OVER } from "../../coordinator/runner/orphaned-migrations.ts";
import { type Migration, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { PLAIN } from "../plain-text.ts";
import { skipWithout } from "../resource.ts";
import { startAgentHere } from "./agent-here.ts";
import { type End, GuestOverTheWire } from "./guest-over-the-wire.ts";
import { type LogLine, launch, logLine, newFolder, terminate } from "./program-process.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const CALL = { timeoutMs: 20_000 };
/** What is promised: no migration waits longer for another coordinator. */
const TAKEN_OVER_WITHIN_MS = 2_000;
const GUESTS = 4;

interface TakenOver {
  readonly migrationId: string;
  readonly atUnixMs: number;
}

interface Coordinator {
  readonly process: ChildProcess;
  /** By its own log, in order. */
  readonly takenOver: readonly TakenOver[];
  readonly client: Client;
}

async function startCoordinator(t: TestContext, id: string, natsUrl: string): Promise<Coordinator> {
  const flags = [
    "--coordinator-id",
    id,
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    natsUrl,
  ];
  const process = launch(t, "coordinator", [...flags, "--log-level", "debug"]);
  const takenOver: TakenOver[] = [];
  createInterface({ input: process.stderr ?? assert.fail("no log") }).on("line", (text) => {
    const { msg, migration_id: migrationId, time } = JSON.parse(text) as LogLine;
    if (msg === TAKEN_OVER)
      takenOver.push({ migrationId: String(migrationId), atUnixMs: Date.parse(String(time)) });
  });
  const { targets } = await logLine(process, "The coordinator listens.");
  return { process, takenOver, client: channel(t, (targets as readonly string[])[0] ?? "") };
}

async function startAgent(t: TestContext, hostId: string, natsUrl: string, folder: string): Promise<End> {
  return { hostId, agent: channel(t, await startAgentHere(t, hostId, natsUrl, folder)) };
}

function channel(t: TestContext, target: string): Client {
  const client = openChannel(target, { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  return client;
}

/** The migration as soon as it is in the phase, or has ended. */
async function inPhase({ client }: Coordinator, migrationId: string, phase: Phase): Promise<Migration> {
  for await (const { migration } of callServerStream(client, methods.watchMigration, {
    migrationId,
    afterRevision: 0n,
  })) {
    if (migration?.phases.some((entry) => entry.phase === phase)) return migration;
  }
  return assert.fail(`${migrationId} ended without it`);
}

/** When the first of the others began to drive it, after the loss; 0 where one did before. */
function takenOverAfterMs(migrationId: string, others: readonly Coordinator[], lostAtUnixMs: number): number {
  const own = others
    .flatMap(({ takenOver }) => takenOver)
    .filter((taken) => taken.migrationId === migrationId);
  assert.ok(own.length > 0, `${migrationId} was taken over by nobody`);
  return Math.max(0, Math.min(...own.map(({ atUnixMs }) => atUnixMs)) - lostAtUnixMs);
}

/** When the first of the others committed what came after the loss. */
function wentOnAfterMs({ phases }: Migration, lostAtUnixMs: number): number {
  const next = phases.find(({ phase }) => phase === Phase.SWITCHING_OVER);
  return Math.round(Number(next?.atUnixUs ?? 0n) / 1_000) - lostAtUnixMs;
}

test("another coordinator takes migrations over within 2 s, after SIGKILL and after SIGTERM", {
  skip: skipWithout("natsServer"),
  timeout: 240_000,
}, async (t) => {
  const folder = await newFolder(t);
  const nats = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder, log: SILENT });
  t.after(() => nats.close());
  const [first, second, third] = await Promise.all([
    startCoordinator(t, "c1", nats.url),
    startCoordinator(t, "c2", nats.url),
    startCoordinator(t, "c3", nats.url),
  ]);
  const [source, destination] = await Promise.all([
    startAgent(t, "ha", nats.url, folder),
    startAgent(t, "hb", nats.url, folder),
  ]);

  const lose = async (name: string, lost: Coordinator, end: () => Promise<void>): Promise<void> => {
    const guests = Array.from({ length: GUESTS }, (_, index) => {
      const number = index + (name === "SIGKILL" ? 0 : GUESTS);
      return new GuestOverTheWire(`${name.toLowerCase()}-${index}`, number, source, destination);
    });
    await Promise.all(guests.map((guest) => guest.stand()));
    const migrationIds = await Promise.all(
      guests.map(async (guest) => {
        const { migration } = await callUnary(lost.client, methods.startMigration, guest.startRequest, CALL);
        await guest.beginTransfer();
        const migrationId = migration?.migrationId ?? "";
        await inPhase(lost, migrationId, Phase.TRANSFERRING);
        return migrationId;
      }),
    );
    const lostAtUnixMs = Date.now();
    await Promise.all([end(), ...guests.map((guest) => guest.switchOver())]);
    const ended = await Promise.all(migrationIds.map((id) => inPhase(third, id, Phase.COMPLETED)));
    for (const { outcome } of ended) assert.equal(outcome, Outcome.RUNS_ON_DESTINATION);
    const others = [first, second, third].filter((coordinator) => coordinator !== lost);
    const longestMs = Math.max(...migrationIds.map((id) => takenOverAfterMs(id, others, lostAtUnixMs)));
    const wentOnMs = Math.max(...ended.map((migration) => wentOnAfterMs(migration, lostAtUnixMs)));
    t.diagnostic(
      `${name}: ${GUESTS} migrations were taken over, the last after ${longestMs} ms; their next phases were ` +
        `committed by ${wentOnMs} ms`,
    );
    assert.ok(longestMs <= TAKEN_OVER_WITHIN_MS, `${longestMs} ms after ${name}`);
  };

  await lose("SIGKILL", first, async () => {
    first.process.kill("SIGKILL");
    await once(first.process, "exit");
  });
  await lose("SIGTERM", second, async () => assert.equal(await terminate(second.process), 0));
});
