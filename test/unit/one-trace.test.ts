/** One migration by a coordinator's program and real agents, over real gRPC and a real nats-server. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { FEED_STREAM, feedSubjects } from "../../proto/subjects.ts";
import { requestMigration, specOf } from "../fleet/requested-migration.ts";
import { bootGuests, startCoordinator } from "./migrating-fleet.ts";
import { natsBench, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN = `00-${TRACE_ID}-00f067aa0ba902b7-01`;

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
  const coordinator = await startCoordinator(t, nats);
  const [guest] = await bootGuests(t, nats, ["web-0"]);
  assert.ok(guest !== undefined);
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
      .filter((line) => line.migration_id === migrationId);
  };
  const hasCompleted = async () =>
    (await linesAbout()).some(({ msg }) => String(msg).includes("PHASE_COMPLETED"));
  await until(hasCompleted, "the log's line about the end");
  for (const line of await linesAbout()) assert.equal(line.trace_id, TRACE_ID, JSON.stringify(line));
});
