import assert from "node:assert/strict";
import { test } from "node:test";
import type { GuestId } from "../../proto/ids.ts";
import { COORDINATOR_ALL, coordinatorSubject } from "../../proto/subjects.ts";
import { CoordinatorPresence } from "../../services/nats/coordinator-presence.ts";
import { natsBench, silent, until, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();

test("a coordinator is heard once it drives what it is to drive, and not before", async (t) => {
  const listening = await (await nats.openLink(t)).whenReachable(WAIT_MS);
  const heard: string[] = [];
  listening.subscribe(COORDINATOR_ALL, {
    callback: (_error, message) => void heard.push(`${message.subject} ${message.string()}`),
  });
  await listening.flush();
  const link = await nats.openLink(t);
  const presence = new CoordinatorPresence(link, "c1", silent);
  t.after(() => presence.leave());
  const speaking = await link.whenReachable(WAIT_MS);
  // On the connection that a word of it would have taken.
  speaking.publish(coordinatorSubject("c2"), "here");
  presence.arrive();
  await until(() => heard.length >= 2, "both to be heard");
  assert.deepEqual(heard.slice(0, 2), [
    `${coordinatorSubject("c2")} here`,
    `${coordinatorSubject("c1")} here`,
  ]);
  await until(() => presence.isAnothers("web-7" as GuestId, "c2"), "the other one to be heard here");
});
