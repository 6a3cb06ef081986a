/**
 * Writes down what this version stores: records, ended migrations, hosts, the feed, journals, for the tests that the next
 * ones read it (test/unit/stored-formats.test.ts). Once a version:
 *
 *   node dist/test/fleet/record-fixtures.js test/unit/fixtures/stored-0.1.0
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type NatsConnection } from "nats";
import { encodeJournalEntry } from "../../agent/journal/journal-codec.ts";
import { FEED_STREAM, GUEST_BUCKET, HISTORY_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { FeedReader } from "../chaos/feed-reader.ts";
import { pollUntil } from "../lab/deadline.ts";
import { CoordinatorProcess } from "./coordinator-process.ts";
import { FleetMember } from "./fleet-member.ts";
import type { PreparedGuest } from "./fleet-message.ts";
import { findFreePorts } from "./free-ports.ts";
import { NatsNode } from "./nats-node.ts";
import { requestMigration, specOf } from "./requested-migration.ts";

const WITHIN_MS = 60_000;
const COPY_MS = 4_000;
const GUESTS = ["web-0", "web-1"] as const;

const [, , into = ""] = process.argv;
if (into === "") throw new Error("Name the folder that the fixtures go to.");
mkdirSync(into, { recursive: true });
const folder = await mkdtemp(join(tmpdir(), "switchover-fixtures-"));
const [nats] = await NatsNode.plan(1, folder);
if (nats === undefined) throw new Error("There is no NATS.");
nats.start();
await nats.whenReady();
const coordinator = new CoordinatorProcess({
  coordinatorId: "fixtures",
  natsUrl: nats.url,
  natsReplicas: 1,
  folder,
});
coordinator.start();
await coordinator.whenReady();
const [port = 0] = await findFreePorts(1);
const times = { copyMs: [COPY_MS, COPY_MS], pagesMs: COPY_MS } as const;
const member = await FleetMember.start({ natsUrl: nats.url, member: 0, hosts: 4, port, seed: 1, ...times });
const connection = await connect({ servers: nats.url });
try {
  await record(
    connection,
    nats.url,
    (await member.answer({ t: "prepare", guestIds: GUESTS })) as PreparedGuest[],
  );
} finally {
  await connection.close();
  await member.close();
  await coordinator.end();
  coordinator.close();
  await nats.end();
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);

async function record(
  connection: NatsConnection,
  natsUrl: string,
  guests: readonly PreparedGuest[],
): Promise<void> {
  const migrationIds: string[] = [];
  for (const [index, guest] of guests.entries()) {
    const spec = specOf(guest, index === 0 ? "live" : "post-copy");
    await pollUntil(
      async () => (await value(connection, HOST_BUCKET, guest.sourceHostId)) ?? undefined,
      WITHIN_MS,
      "A host",
    );
    await pollUntil(
      async () => (await value(connection, HOST_BUCKET, guest.destinationHostId)) ?? undefined,
      WITHIN_MS,
      "A host",
    );
    migrationIds.push((await requestMigration([coordinator.client], `request-${index}`, spec)).migrationId);
  }
  const isUnderWay = (text: string | null) =>
    text?.includes('"transferredBytes"') === true ? text : undefined;
  for (const guestId of GUESTS) {
    const underWay = async () => isUnderWay(await value(connection, GUEST_BUCKET, guestId));
    write(`guest-record-${guestId}-under-way.json`, await pollUntil(underWay, WITHIN_MS, "A transfer"));
  }
  for (const [index, guestId] of GUESTS.entries()) {
    const archived = async () =>
      (await value(connection, HISTORY_BUCKET, migrationIds[index] ?? "")) ?? undefined;
    write(`ended-migration-${guestId}.json`, await pollUntil(archived, WITHIN_MS, "An end", 50));
    const finished = async () => {
      const text = await value(connection, GUEST_BUCKET, guestId);
      return text?.includes('"archived":true') ? text : undefined;
    };
    write(
      `guest-record-${guestId}-ended.json`,
      await pollUntil(finished, WITHIN_MS, "A finished record", 50),
    );
    for (const [end, entries] of Object.entries(member.journalsOf(guestId))) {
      write(`journal-${guestId}-${end}.jsonl`, entries.map(encodeJournalEntry).join(""));
    }
  }
  write("host-record.json", (await value(connection, HOST_BUCKET, guests[0]?.sourceHostId ?? "")) ?? "");
  const reader = await FeedReader.open([natsUrl]);
  const last = await reader.lastPosition();
  await pollUntil(() => reader.position >= last || undefined, WITHIN_MS, `The reading of ${FEED_STREAM}`);
  const lines = reader.messages.map(
    ({ body, subject }) => `${JSON.stringify({ subject, body: JSON.parse(body) as unknown })}\n`,
  );
  write("feed.jsonl", lines.join(""));
  await reader.close();
}

async function value(connection: NatsConnection, bucket: string, key: string): Promise<string | null> {
  const kv = await connection.jetstream().views.kv(bucket, { bindOnly: true, allow_direct: false });
  return (await kv.get(key))?.string() ?? null;
}

function write(name: string, text: string): void {
  writeFileSync(join(into, name), text.endsWith("\n") ? text : `${text}\n`);
}
