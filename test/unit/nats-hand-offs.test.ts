import assert from "node:assert/strict";
import { test } from "node:test";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { NatsHandOffBus } from "../../services/nats/hand-off-bus.ts";
import { natsBench, newGuest, silent, until } from "./nats-bench.ts";

const nats = natsBench();

test("a hand-off reaches who waits for its guest, and nobody else", async (t) => {
  const [source, destination] = [await nats.openLink(t), await nats.openLink(t)];
  const [out, into] = [new NatsHandOffBus(source, silent), new NatsHandOffBus(destination, silent)];
  const guestId = newGuest();
  const handOff = HandOff.create({ guestId, fence: { epoch: 3n, revision: 1n }, runState: "running" });
  const strangers: HandOff[] = [];
  into.subscribe(newGuest(), (word) => strangers.push(word));
  const latenciesUs: number[] = [];
  for (let round = 0; round < 300; round += 1) {
    await new Promise<void>((resolve) => {
      const end = into.subscribe(guestId, (word) => {
        latenciesUs.push((performance.now() - sentMs) * 1000);
        assert.deepEqual(word, handOff);
        end();
        resolve();
      });
      let sentMs = 0;
      // The subscription must be at the server before the word is.
      void destination.connection?.flush().then(() => {
        sentMs = performance.now();
        out.publish(handOff);
      });
    });
  }
  assert.deepEqual(strangers, []);
  latenciesUs.sort((left, right) => left - right);
  const at = (share: number): string => (latenciesUs[Math.floor(latenciesUs.length * share)] ?? 0).toFixed(0);
  t.diagnostic(`hand-off over NATS, one process: p50 ${at(0.5)} us, p99 ${at(0.99)} us`);
});

test("a subscription to hand-offs outlives the server", async (t) => {
  const link = await nats.openLink(t);
  const bus = new NatsHandOffBus(link, silent);
  const guestId = newGuest();
  let heard = 0;
  bus.subscribe(guestId, () => {
    heard += 1;
  });
  await nats.killServer(link);
  await link.connection?.flush();
  bus.publish(HandOff.create({ guestId }));
  await until(() => heard === 1, "the word");
  bus.close();
});

test("a hand-off leaves within the turn of the event loop in which it was published", async (t) => {
  const link = await nats.openLink(t);
  const bus = new NatsHandOffBus(link, silent);
  const before = link.connection?.stats().outBytes ?? 0;
  bus.publish(HandOff.create({ guestId: newGuest() }));
  await Promise.resolve();
  assert.ok((link.connection?.stats().outBytes ?? 0) > before, "nothing was given to the socket");
});
