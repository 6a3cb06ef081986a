import assert from "node:assert/strict";
import { test } from "node:test";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { NatsFeedStream } from "../../services/nats/feed-stream.ts";
import { eventOf, HA, natsBench, newGuest, rejection } from "./nats-bench.ts";

const nats = natsBench();

test("an event too large for NATS is passed over", async (t) => {
  const link = await nats.openLink(t);
  const guestId = newGuest();
  const stream = new NatsFeedStream(link);
  const body = JSON.stringify(FeedEvent.toJSON(eventOf("" as MigrationId, guestId, 1n)));
  const subject = subjectOf({ guestId, migrationId: "" }, HA);
  const error = await rejection(
    stream.append({ subject, messageId: "large", body: body.padEnd(2_000_000) }, 0),
  );
  assert.deepEqual([error.code, error.reason], ["INVALID_ARGUMENT", "EVENT_UNSENDABLE"]);
  assert.equal(await stream.last(subject), null);
});

test("a message is stored only as the next after the one that its writer knows of", async (t) => {
  const stream = new NatsFeedStream(await nats.openLink(t));
  const guestId = newGuest();
  const subject = subjectOf({ guestId, migrationId: "" }, HA);
  const append = (sequence: bigint, after: number) => {
    const body = JSON.stringify(FeedEvent.toJSON(eventOf("" as MigrationId, guestId, sequence)));
    return stream.append({ subject, messageId: `${guestId}:${sequence}`, body }, after);
  };
  const first = await append(1n, 0);
  assert.ok(first.t === "stored");
  assert.deepEqual(await append(2n, 0), { t: "overtaken" });
  const second = await append(2n, first.position);
  assert.ok(second.t === "stored" && second.position > first.position);
  const again = await append(2n, first.position);
  assert.deepEqual(again, again.t === "stored" ? second : { t: "overtaken" });
  assert.deepEqual(await stream.last(subject), {
    position: second.position,
    messageId: `${guestId}:2`,
    sequence: 2n,
  });
});
