import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "@grpc/grpc-js";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { startAgentServer } from "../../services/agent/server.ts";
import { AGENT_SETTINGS } from "../../services/agent/settings.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { startCoordinatorServer } from "../../services/coordinator/server.ts";
import { COORDINATOR_SETTINGS } from "../../services/coordinator/settings.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { PLAIN } from "../plain-text.ts";
import { GuestOverTheWire } from "./guest-over-the-wire.ts";
import { newFolder } from "./program-process.ts";
import { type Scraped, scrape } from "./scrape.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A program that answers calls, and scrapes at `metricsUrl`. */
export interface Metered {
  readonly client: Client;
  readonly metricsUrl: string;
}

export interface MeteredPrograms {
  readonly coordinator: Metered;
  /** Of the hosts ha and hb. */
  readonly agents: readonly [Metered, Metered];
}

const CALL = { timeoutMs: 20_000 };
const POLL_MS = 20;

/** A coordinator with its own nats-server and two agents, in the test's process, with metrics, until the test's end. */
export async function startMeteredPrograms(t: TestContext): Promise<MeteredPrograms> {
  const folder = await newFolder(t);
  const metered = (target: string | undefined, metricsUrl: string | undefined): Metered => {
    const client = openChannel(target ?? "", { ...PLAIN, retriedServices: [] });
    t.after(() => client.close());
    return { client, metricsUrl: metricsUrl ?? assert.fail("no metrics") };
  };
  const listen = ["--insecure-loopback", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
  const nats = ["--coordinator-id", "c1", "--nats-listen", "127.0.0.1:0", "--data-dir", join(folder, "c1")];
  const coordinatorRead = readSettings(COORDINATOR_SETTINGS, [...listen, ...nats], {});
  assert.ok(coordinatorRead.t === "settings", JSON.stringify(coordinatorRead));
  const server = await startCoordinatorServer(coordinatorRead.values, SILENT);
  t.after(() => server.close());
  const agent = async (hostId: string): Promise<Metered> => {
    const host = ["--host-id", hostId, "--nats-url", server.natsUrl, "--state-dir", join(folder, hostId)];
    // Beside other tests' processes, and not ahead of them.
    const mild = ["--cpu-priority", "normal", "--expedite-rcu", "never"];
    const read = readSettings(AGENT_SETTINGS, [...listen, ...host, ...mild], {});
    assert.ok(read.t === "settings", JSON.stringify(read));
    let register: () => void = () => {};
    const registered = new Promise<void>((resolve) => {
      register = resolve;
    });
    const info: Log["info"] = (_, sentence) => {
      if (sentence === "The host is in the host registry.") register();
    };
    const started = await startAgentServer(read.values, { ...SILENT, info });
    t.after(() => started.close());
    await registered;
    return metered(started.target, started.metricsUrl);
  };
  const agents = await Promise.all([agent("ha"), agent("hb")]);
  return { coordinator: metered(server.targets[0], server.metricsUrl), agents };
}

/** Moves a guest of a VMM that its owner drives from ha to hb; resolves with the migration's id once it is completed. */
export async function migrateOnce({ coordinator, agents }: MeteredPrograms): Promise<string> {
  const [source, destination] = agents;
  const ends = [
    { hostId: "ha", agent: source.client },
    { hostId: "hb", agent: destination.client },
  ] as const;
  const guest = new GuestOverTheWire("web", 0, ...ends);
  await guest.stand();
  const { migration } = await callUnary(coordinator.client, methods.startMigration, guest.startRequest, CALL);
  const migrationId = migration?.migrationId ?? "";
  await guest.beginTransfer();
  await guest.switchOver();
  const watch = { migrationId, afterRevision: 0n };
  for await (const { migration: now } of callServerStream(
    coordinator.client,
    methods.watchMigration,
    watch,
  )) {
    if (now?.phase === Phase.COMPLETED) return migrationId;
  }
  return assert.fail("It did not end.");
}

/** What is counted after a caller heard of it: a scrape says when. */
export async function scrapeUntil(
  url: string,
  isSo: (metrics: ReadonlyMap<string, Scraped>) => boolean,
): Promise<ReadonlyMap<string, Scraped>> {
  for (;;) {
    const metrics = await scrape(url);
    if (isSo(metrics)) return metrics;
    await delay(POLL_MS);
  }
}
