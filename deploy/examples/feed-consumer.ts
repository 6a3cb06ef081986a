/**
 * Prints what happens to migrations and guests, a line each: in order, nothing left out, also after a restart.
 *
 *   node feed-consumer.js [NATS-URL [FILE that holds the last position [from when on, as 2026-11-30T20:00:00Z]]]
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { connect, DeliverPolicy } from "nats";

const [servers = "nats://127.0.0.1:4222", file = "feed-position", since] = process.argv.slice(2);
const connection = await connect({ servers, maxReconnectAttempts: -1 });
let position = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
for (;;) {
  const next = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: position + 1 };
  const start = { deliver_policy: DeliverPolicy.StartTime, opt_start_time: since ?? "1970-01-01T00:00:00Z" };
  try {
    const feed = await connection.jetstream().consumers.get("SWITCHOVER_FEED", position > 0 ? next : start);
    for await (const message of await feed.consume({ idle_heartbeat: 1_000 })) {
      if (message.seq <= position) continue;
      const [id, type] = ["ce-id", "ce-type"].map((name) => message.headers?.get(name));
      console.log(`${message.seq} ${id} ${type} ${message.string()}`);
      position = message.seq;
      writeFileSync(`${file}.new`, String(position));
      renameSync(`${file}.new`, file); // Only now: what was not acted on comes again, under the same ce-id.
    }
  } catch (thrown) {
    console.error(`The feed is asked for again: ${thrown}`);
  }
  await delay(500);
}
