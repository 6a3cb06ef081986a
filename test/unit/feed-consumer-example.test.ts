/** deploy/examples/feed-consumer.ts as somebody would run it, beside a coordinator, agents and a real nats-server. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { migrationIdOf } from "../../proto/ids.ts";
import { FEED_STREAM } from "../../proto/subjects.ts";
import type { NatsLink } from "../../services/nats/connection.ts";
import { NatsPhaseFeed } from "../../services/nats/phase-feed.ts";
import type { PreparedGuest } from "../fleet/fleet-message.ts";
import { type FleetMode, requestMigration, specOf } from "../fleet/requested-migration.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";
import { bootGuests, startCoordinator } from "./migrating-fleet.ts";
import { eventOf, natsBench, newGuest, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const SOURCE = join(repositoryRoot(), "deploy/examples/feed-consumer.ts");
const PROGRAM = fileURLToPath(new URL("../../deploy/examples/feed-consumer.js", import.meta.url));

/** The example, started and killed as often as a test likes, and all that it ever printed. */
class Consumer {
  readonly lines: string[] = [];
  readonly #args: readonly string[];
  #process: TrackedProcess | null = null;

  constructor(t: TestContext, ...args: readonly string[]) {
    this.#args = args;
    t.after(() => this.kill());
  }

  start(): void {
    this.#process = TrackedProcess.start([], process.execPath, [PROGRAM, ...this.#args]);
    this.#process.onLine((line) => void this.lines.push(line));
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  get positions(): readonly number[] {
    return this.lines.map((line) => Number(line.split(" ")[0]));
  }
}

async function lastPosition(link: NatsLink): Promise<number> {
  const { streams } = await (await link.whenReachable(WAIT_MS)).jetstreamManager();
  return (await streams.info(FEED_STREAM)).state.last_seq;
}

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

test("the example has 30 lines and needs nothing but a NATS client", () => {
  const source = readFileSync(SOURCE, "utf8");
  assert.ok(source.trimEnd().split("\n").length <= 30);
  const imports = [...source.matchAll(/ from "([^"]+)"/g)].map(([, module]) => module ?? "");
  assert.deepEqual(
    imports.filter((module) => !module.startsWith("node:")),
    ["nats"],
  );
});

test("it prints every event of migrations once and in order, though it and the nats-server are killed", async (t) => {
  const link = await nats.openLink(t);
  const coordinator = await startCoordinator(t, nats);
  const [first, second, third] = await bootGuests(t, nats, ["web-0", "web-1", "web-2"]);
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  const consumer = new Consumer(t, nats.server.url, join(nats.newFolder("consumer"), "position"));
  const hasCompleted = (migrationId: string) => () =>
    consumer.lines.some((line) => line.includes(migrationId) && line.includes('"to":"PHASE_COMPLETED"'));

  const migrate = async (guest: PreparedGuest, mode: FleetMode) =>
    (await requestMigration([coordinator.client], guest.guestId, specOf(guest, mode))).migrationId;

  const live = await migrate(first, "live");
  consumer.start();
  await until(() => consumer.lines.length >= 5, "the first lines");
  await consumer.kill();
  // Nobody listens to what is said meanwhile.
  const heard = consumer.lines.length;
  const postCopy = await migrate(second, "post-copy");
  await until(async () => (await lastPosition(link)) > heard + 10, "what is missed");
  consumer.start();
  await until(hasCompleted(live), "the first migration's end");
  await until(hasCompleted(postCopy), "the second migration's end");
  await nats.killServer(link);
  await until(hasCompleted(await migrate(third, "live")), "the third migration's end");
  const last = await lastPosition(link);
  await until(() => (consumer.positions.at(-1) ?? 0) >= last, "the rest");

  // What was printed when the kill came may be printed again: it was not yet written down.
  const repeated = consumer.positions.filter((position, index) => position === consumer.positions[index - 1]);
  assert.ok(repeated.length <= 1);
  const positions = consumer.positions.filter(
    (position, index) => position !== consumer.positions[index - 1],
  );
  assert.deepEqual(positions, upTo(positions.length));
  assert.ok(positions.length >= last);
  const ids = new Set(consumer.lines.map((line) => line.split(" ")[1]));
  assert.equal(ids.size, positions.length);
});

test("it begins at the event that was stored when it is told to", async (t) => {
  const link = await nats.openLink(t);
  const feed = new NatsPhaseFeed(link);
  const guestId = newGuest();
  const migrationId = migrationIdOf(guestId, Date.now(), 0.5);
  for (const sequence of [1n, 2n, 3n, 4n]) {
    await feed.publish(eventOf(migrationId, guestId, sequence), `${migrationId}:${sequence}`);
  }
  const first = (await lastPosition(link)) - 1;
  const { streams } = await (await link.whenReachable(WAIT_MS)).jetstreamManager();
  const { timestamp } = await streams.getMessage(FEED_STREAM, { seq: first });
  const consumer = new Consumer(t, nats.server.url, join(nats.newFolder("later"), "position"), timestamp);
  consumer.start();
  await until(() => consumer.lines.length >= 2, "the last two");
  assert.deepEqual(consumer.positions.slice(0, 2), [first, first + 1]);
});
