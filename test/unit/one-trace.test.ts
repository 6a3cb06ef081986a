/** One migration by a coordinator's program and real agents, over real gRPC and a real nats-server. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { FEED_STREAM, feedSubjects } from "../../proto/subjects.ts";
import { CoordinatorProcess } from "../fleet/coordinator-process.ts";
import { FleetMember } from "../fleet/fleet-member.ts";
import type { PreparedGuest } from "../fleet/fleet-message.ts";
import { findFreePorts } from "../fleet/free-ports.ts";
import { requestMigration, specOf } from "../fleet/requested-migration.ts";
import { natsBench, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN = `00-${TRACE_ID}-00f067aa0ba902b7-01`;

async function startCoordinator(t: TestContext): Promise<CoordinatorProcess> {
  const folder = nats.newFolder("coordinator");
  const natsUrl = nats.server.url;
  const coordinator = new CoordinatorProcess({ coordinatorId: "one", natsUrl, natsReplicas: 1, folder });
  coordinator.start();
  t.after(async () => {
    await coordinator.end();
    coordinator.close();
  });
  await coordinator.whenReady();
  return coordinator;
}

async function bootGuest(t: TestContext): Promise<PreparedGuest> {
  const [port = 0] = await findFreePorts(1);
  const times = { copyMs: [200, 200], pagesMs: 200 } as const;
  const member = await FleetMember.start({
    natsUrl: nats.server.url,
    member: 3,
    hosts: 2,
    port,
    seed: 1,
    ...times,
  });
  t.after(() => member.close());
  const [guest] = (await member.answer({ t: "prepare", guestIds: ["web-0"] })) as PreparedGuest[];
  assert.ok(guest !== undefined);
  return guest;
}

/** Who spoke, and the trace ids of what was said, until the migration has completed. */
async function tracesInFeed(t: TestContext, migrationId: string): Promise<Map<string, Set<string>>> {
  const connection = await (await nats.openLink(t)).whenReachable(WAIT_MS);
  const filterSubjects = feedSubjects({ t: "migration", migrationId: migrationId as MigrationId });
  const consumer = await connection.jetstream().consumers.get(FEED_STREAM, { filterSubjects });
  const traces = new Map<string, Set<string>>();
  for await (const message of await consumer.consume()) {
    const source = message.headers?.get("ce-source") ?? "";
    const trace = /^00-([0-9a-f]{32})-/.exec(message.headers?.get("traceparent") ?? "")?.[1] ?? "";
    traces.set(source, (traces.get(source) ?? new Set()).add(trace));
    const { event } = FeedEvent.fromJSON(message.json());
    if (event?.$case === "phaseChanged" && event.value.to === Phase.COMPLETED) break;
  }
  return traces;
}

test("a caller's trace is in all that the feed and a coordinator's log say about its migration", async (t) => {
  const coordinator = await startCoordinator(t);
  const guest = await bootGuest(t);
  const spec = specOf(guest, "live");
  const { migrationId } = await requestMigration([coordinator.client], "r1", spec, () => false, GIVEN);
  const expected = new Set([TRACE_ID]);
  assert.deepEqual(
    await tracesInFeed(t, migrationId),
    new Map([
      ["/switchover/coordinator", expected],
      [`/switchover/host/${guest.sourceHostId}`, expected],
      [`/switchover/host/${guest.destinationHostId}`, expected],
    ]),
  );
  const linesAbout = async () => {
    const lines = (await readFile(coordinator.logFile, "utf8")).split("\n").filter((line) => line !== "");
    return lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["migration_id"] === migrationId);
  };
  const hasCompleted = async () =>
    (await linesAbout()).some(({ msg }) => String(msg).includes("PHASE_COMPLETED"));
  await until(hasCompleted, "the log's line about the end");
  for (const line of await linesAbout()) assert.equal(line["trace_id"], TRACE_ID, JSON.stringify(line));
});
