import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AgentMeter } from "../../agent/agent-meter.ts";
import { AgentFeed } from "../../agent/feed/agent-feed.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import type { LogFields } from "../../agent/log.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { HostId } from "../../proto/ids.ts";
import { MigrationTraces } from "../../services/trace/migration-traces.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { armedGuest, GUEST, last, MIGRATION, play, residentGuest } from "./guest-gate.ts";
import { PretendedFeedStream } from "./pretended-feed-stream.ts";
import { PretendedSpoolStore } from "./pretended-spool-store.ts";

const HOST = "ha" as HostId;
const MIGRATING = armedGuest("live", "completed");
const SWITCHING: Guest = last(play(MIGRATING, { kind: "cpusStopped", stoppedAtUnixUs: 1 })).guest;

/** A host whose agent can be killed and started again, on the same spool and stream. */
class SpeakingHost {
  readonly clock = new VirtualClock();
  readonly stream = new PretendedFeedStream();
  readonly faults: string[] = [];
  /** What its meter was told. */
  readonly counted: string[] = [];
  store = new PretendedSpoolStore();
  feed: AgentFeed;
  /** What the agent's process knows; another one knows what the spool tells. */
  traces = new MigrationTraces();

  constructor() {
    this.feed = this.start();
  }

  start(): AgentFeed {
    const note = ({ reason }: LogFields) => void this.faults.push(String(reason));
    const log = { debug: () => {}, info: () => {}, warn: note, error: note };
    const { clock, store, stream } = this;
    const meter: AgentMeter = {
      said: (_, { $case }, atUnixUs) => void this.counted.push(`${$case} at ${atUnixUs}`),
    };
    this.traces = new MigrationTraces();
    const { traces } = this;
    this.feed = new AgentFeed({ hostId: HOST, clock, log, spool: store, feed: stream, meter, traces });
    return this.feed;
  }

  say(round: number, guest: Guest = MIGRATING): void {
    this.feed.publish(
      guest,
      { $case: "announced", value: { round, announcedAtUnixUs: 1n, firstFrames: [] } },
      1,
    );
  }

  /** Its words are in the spool, and it says no more; its successor starts later. */
  kill(): void {
    this.feed.close();
    this.clock.advance(1);
  }

  /** Lets all that is on its way arrive; each timer that is due fires. */
  async settle(ms = 0): Promise<void> {
    this.clock.advance(ms);
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
  }

  async follow(after: bigint, count: number, migrationId: string = MIGRATION): Promise<string[]> {
    const ending = new AbortController();
    const events: FeedEvent[] = [];
    const following = (async () => {
      for await (const event of this.feed.follow(GUEST, migrationId, after, ending.signal)) {
        events.push(event);
        if (events.length === count) break;
      }
    })();
    await this.settle();
    ending.abort();
    await following;
    return events.map(
      ({ sequence, event }) => `${sequence}:${event?.$case === "announced" ? event.value.round : "?"}`,
    );
  }

  told(): string[] {
    return this.stream
      .eventsOf(MIGRATION)
      .map(({ sequence, event }) => `${sequence}:${event?.$case === "announced" ? event.value.round : "?"}`);
  }
}

describe("an agent's words", () => {
  it("are in the trace that their migration's caller gave, also those of the agent's successor", async () => {
    const given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const host = new SpeakingHost();
    host.say(1);
    host.traces.note(MIGRATION, { traceparent: given });
    host.say(2);
    host.say(3, residentGuest("running"));
    await host.settle();
    host.kill();
    host.start();
    host.say(4);
    await host.settle();
    const traces = host.stream.messages.map(({ event }) => event.traceparent);
    assert.deepEqual(traces, [undefined, given, undefined, given]);
  });

  it("are heard by nobody before they are on disk", async () => {
    const host = new SpeakingHost();
    let letGo = (): void => {};
    host.store.beforeSync = () => new Promise((resolve) => (letGo = resolve));
    host.say(1);
    assert.deepEqual(await host.follow(0n, 1), []);
    assert.deepEqual(host.told(), []);
    letGo();
    await host.settle();
    assert.deepEqual(await host.follow(0n, 1), ["1:1"]);
    assert.deepEqual(host.told(), ["1:1"]);
  });

  it("are counted once their guest's switchover is over, each once, also where the agent is killed then", async () => {
    const host = new SpeakingHost();
    host.say(1);
    assert.deepEqual(host.counted, ["announced at 1"]);
    host.feed.publish(SWITCHING, { $case: "nicsDeregistered", value: { deregisteredAtUnixUs: 5n } }, 5);
    await host.settle(49);
    assert.equal(host.counted.length, 1);
    await host.settle(1);
    assert.deepEqual(host.counted.slice(1), ["nicsDeregistered at 5"]);
    host.kill();
    host.start();
    await host.settle(1_000);
    assert.equal(host.counted.length, 2);
  });

  it("do not wait for a disk that does not answer within a second", async () => {
    const host = new SpeakingHost();
    host.store.beforeSync = () => new Promise(() => {});
    host.say(1);
    await host.settle(999);
    assert.deepEqual(host.told(), []);
    await host.settle(1);
    assert.deepEqual(host.told(), ["1:1"]);
  });

  it("are nobody's while a full disk may still take them, for a second and once", async () => {
    const host = new SpeakingHost();
    host.store.disk = "is full";
    host.say(1);
    for (let waitedMs = 0; waitedMs < 990; waitedMs += 10) await host.settle(10);
    assert.deepEqual(host.told(), []);
    await host.settle(10);
    assert.deepEqual(host.told(), ["1:1"]);
    host.say(2);
    await host.settle();
    assert.deepEqual(host.told(), ["1:1", "2:2"]);
    host.store.disk = "takes all";
    host.say(3);
    await host.settle();
    host.store.disk = "is full";
    host.say(4);
    await host.settle(10);
    assert.deepEqual(host.told(), ["1:1", "2:2", "3:3"]);
    host.store.disk = "takes all";
    await host.settle(10);
    assert.deepEqual(host.told(), ["1:1", "2:2", "3:3", "4:4"]);
  });

  it("are neither encoded nor written while the guest switches over, and then written once", async () => {
    const host = new SpeakingHost();
    host.say(1, SWITCHING);
    host.say(2, SWITCHING);
    await host.settle(49);
    assert.equal(host.store.appends, 0);
    await host.settle(1);
    assert.equal(host.store.appends, 1);
    assert.deepEqual(host.told(), ["1:1", "2:2"]);
  });

  it("take one flush for all that came while another ran", async () => {
    const host = new SpeakingHost();
    for (let round = 1; round <= 50; round += 1) host.say(round);
    await host.settle();
    assert.equal(host.told().length, 50);
    assert.ok(host.store.syncs <= 2, `${host.store.syncs} flushes`);
  });
});

describe("the feed", () => {
  it("has what a killed agent had said, once and in order, and then its successor's words", async () => {
    const host = new SpeakingHost();
    host.stream.state = "away";
    for (let round = 1; round <= 5; round += 1) host.say(round);
    await host.settle();
    host.kill();
    host.stream.state = "reachable";
    host.start();
    host.say(6);
    await host.settle();
    assert.deepEqual(host.told(), ["1:1", "2:2", "3:3", "4:4", "5:5", "6:6"]);
    assert.deepEqual(await host.follow(3n, 3), ["4:4", "5:5", "6:6"]);
  });

  it("has no word twice whose acknowledgement was lost, whenever the agent was killed", async () => {
    for (let rounds = 1; rounds <= 4; rounds += 1) {
      const host = new SpeakingHost();
      host.stream.failures.push(...Array.from({ length: rounds - 1 }, () => "lost" as const), "unknown");
      for (let round = 1; round <= 3; round += 1) host.say(round);
      for (let wait = 0; wait < rounds; wait += 1) await host.settle(2_000);
      host.kill();
      host.start();
      host.say(4);
      await host.settle(2_000);
      await host.settle(2_000);
      assert.deepEqual(host.told(), ["1:1", "2:2", "3:3", "4:4"], `after ${rounds}`);
    }
  });

  it("has no word twice when the old process and its successor send at the same time", async () => {
    const host = new SpeakingHost();
    host.stream.state = "away";
    for (let round = 1; round <= 20; round += 1) host.say(round);
    await host.settle();
    // The old process is not ended: it goes on sending what it has.
    const old = host.feed;
    host.start();
    host.say(21);
    host.stream.state = "reachable";
    for (let wait = 0; wait < 10; wait += 1) await host.settle(2_000);
    old.close();
    assert.deepEqual(
      host.told(),
      Array.from({ length: 21 }, (_, index) => `${index + 1}:${index + 1}`),
    );
  });

  it("goes on for other guests, and after it, when one event can never be stored", async () => {
    const host = new SpeakingHost();
    host.stream.failures.push("hopeless");
    host.say(1);
    host.say(2);
    host.say(1, residentGuest("running"));
    await host.settle();
    assert.deepEqual(host.told(), ["2:2"]);
    assert.deepEqual(host.stream.sequencesOf(""), [1]);
    assert.deepEqual(host.faults, ["EVENT_UNSENDABLE"]);
    assert.equal(await host.feed.drain(0), 0);
  });

  it("does not let one guest's failing subject keep the others waiting", async () => {
    const host = new SpeakingHost();
    const append = host.stream.append.bind(host.stream);
    host.stream.append = (message, after) =>
      message.subject.includes(MIGRATION) ? Promise.reject(new Error("Refused.")) : append(message, after);
    for (let round = 1; round <= 3; round += 1) host.say(round);
    for (let index = 0; index < 100; index += 1) {
      host.say(1, { ...residentGuest("running"), guestId: `other-${index}` as Guest["guestId"] });
    }
    await host.settle();
    await host.settle();
    assert.equal(host.stream.eventsOf("").length, 100);
    assert.equal(host.feed.unsent, 3);
  });

  it("gets again nothing that it has let go of", async () => {
    const host = new SpeakingHost();
    host.say(1);
    host.say(2);
    await host.settle();
    await host.settle(1_000);
    host.kill();
    host.stream.messages.length = 0;
    host.start();
    host.say(3);
    await host.settle();
    assert.deepEqual(host.told(), ["3:3"]);
  });
});

describe("an agent whose spool is lost", () => {
  it("tells again, above its predecessor's numbers, what it had said under them", async () => {
    const host = new SpeakingHost();
    for (let round = 1; round <= 3; round += 1) host.say(round);
    await host.settle();
    host.kill();
    host.store = new PretendedSpoolStore();
    host.start();
    host.say(11);
    host.say(12);
    await host.settle();
    assert.deepEqual(host.told(), ["1:1", "2:2", "3:3", "4:11", "5:12"]);
    assert.deepEqual(await host.follow(3n, 2), ["4:11", "5:12"]);
  });

  it("goes on after what a follower has heard, and tells it what was said since", async () => {
    const host = new SpeakingHost();
    host.stream.state = "away";
    host.say(11);
    assert.deepEqual(await host.follow(7n, 1), ["8:11"]);
    host.say(12);
    assert.deepEqual(await host.follow(7n, 2), ["8:11", "9:12"]);
  });

  it("goes on after what a follower has heard when it has said nothing yet", async () => {
    const host = new SpeakingHost();
    const hearing = host.follow(7n, 1);
    host.say(1);
    assert.deepEqual(await hearing, ["8:1"]);
  });

  it("fills what it no longer has for a follower that lacks it", async () => {
    const host = new SpeakingHost();
    await host.follow(2n, 1);
    host.say(1);
    await host.settle();
    assert.deepEqual(await host.follow(0n, 3), ["1:?", "2:?", "3:1"]);
  });

  it("refuses numbers that no predecessor can have reached", () => {
    const host = new SpeakingHost();
    assert.throws(() => host.feed.follow(GUEST, MIGRATION, 2n ** 60n, new AbortController().signal), {
      code: "OUT_OF_RANGE",
      reason: "SEQUENCE_UNKNOWN",
    });
  });
});

describe("a follower of an agent", () => {
  it("hears past and future without a gap, of its migration alone", async () => {
    const host = new SpeakingHost();
    for (let round = 1; round <= 4; round += 1) host.say(round);
    await host.settle();
    const hearing = host.follow(2n, 4);
    host.say(1, residentGuest("running"));
    host.say(5);
    host.say(6);
    assert.deepEqual(await hearing, ["3:3", "4:4", "5:5", "6:6"]);
  });

  it("hears all after a restart, however far behind", async () => {
    const host = new SpeakingHost();
    for (let round = 1; round <= 5_000; round += 1) host.say(round);
    host.kill();
    host.start();
    const heard = await host.follow(0n, 5_000);
    assert.equal(heard.length, 5_000);
    assert.equal(heard.at(-1), "5000:5000");
  });

  it("is let go when it leaves", async () => {
    const host = new SpeakingHost();
    const leaving = new AbortController();
    const events = host.feed.follow(GUEST, MIGRATION, 0n, leaving.signal)[Symbol.asyncIterator]();
    const waiting = events.next();
    leaving.abort();
    assert.equal((await waiting).done, true);
  });
});
