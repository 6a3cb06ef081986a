import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FeedHold } from "../../agent/feed/feed-hold.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import type { GuestFeedEvent } from "../../agent/guest/guest-operation.ts";
import { armedGuest, incomingGuest, last, play, residentGuest } from "./guest-gate.ts";

const STOPPED: GuestFeedEvent = {
  $case: "cpusStopped",
  value: { stoppedAtUnixUs: 1n, receivedAtUnixUs: 2n },
};
const DEREGISTERED: GuestFeedEvent = { $case: "nicsDeregistered", value: { deregisteredAtUnixUs: 3n } };
const STARTED: GuestFeedEvent = {
  $case: "cpusStarted",
  value: { contSentAtUnixUs: 4n, resumedAtUnixUs: 5n },
};
const AWAITED: GuestFeedEvent = { $case: "handOffAwaited", value: { waitedMs: 20 } };

function benchedHold() {
  const published: string[] = [];
  const timers: { delayMs: number; fire: () => void }[] = [];
  const clock = {
    unixUs: () => 0,
    after: (delayMs: number, fire: () => void) => {
      const timer = { delayMs, fire };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
  };
  const hold = new FeedHold(clock, (said) => {
    published.push(...said.map(([, event, atUnixUs]) => `${event.$case} ${atUnixUs}`));
  });
  return { hold, published, timers };
}

const stopped: Guest = last(
  play(armedGuest("live", "completed"), { kind: "cpusStopped", stoppedAtUnixUs: 1 }),
).guest;
const loaded: Guest = last(
  play(incomingGuest("live"), { kind: "transferStatusChanged", status: "completed" }),
).guest;

describe("the feed of a guest that switches over", () => {
  it("waits for at most 50 ms and then tells all, in order, with its own times", () => {
    const { hold, published, timers } = benchedHold();
    hold.publish(stopped, STOPPED, 10);
    hold.publish(stopped, DEREGISTERED, 11);
    assert.deepEqual(published, []);
    assert.deepEqual(
      timers.map(({ delayMs }) => delayMs),
      [50],
    );
    timers[0]?.fire();
    assert.deepEqual(published, ["cpusStopped 10", "nicsDeregistered 11"]);
  });

  it("is told at once when the CPUs run, what came before first", () => {
    const { hold, published, timers } = benchedHold();
    hold.publish(loaded, DEREGISTERED, 10);
    hold.publish({ ...residentGuest("running"), instanceId: loaded.instanceId }, STARTED, 11);
    assert.deepEqual(published, ["nicsDeregistered 10", "cpusStarted 11"]);
    assert.deepEqual(timers, []);
  });

  it("is told at once when it asks for help", () => {
    const { hold, published } = benchedHold();
    hold.publish(loaded, AWAITED, 10);
    assert.deepEqual(published, ["handOffAwaited 10"]);
  });

  it("does not wait at all when nothing switches over", () => {
    const { hold, published } = benchedHold();
    hold.publish(residentGuest("running"), DEREGISTERED, 10);
    hold.publish(armedGuest("live", "completed"), DEREGISTERED, 11);
    assert.deepEqual(published, ["nicsDeregistered 10", "nicsDeregistered 11"]);
  });

  it("is told when the agent ends", () => {
    const { hold, published } = benchedHold();
    hold.publish(stopped, STOPPED, 10);
    hold.close();
    assert.deepEqual(published, ["cpusStopped 10"]);
  });
});
