import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LatestValue } from "../../coordinator/latest-value.ts";
import { compareAndSet } from "../../coordinator/record/compare-and-set.ts";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import { DeadlineTimers } from "../../coordinator/runner/deadline-timers.ts";
import { backoffMs } from "../../coordinator/runner/pause.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { MemoryStore, VirtualClock } from "./coordinator-world.ts";

function recordOf(requestId: string): GuestRecord {
  const request = { requestId, guestId: "web-7" as GuestId, spec: specOf() };
  const claim = claimGuest(null, request, 1_795_456_900_000_000n, 0.5);
  return claim.t === "claimed" ? claim.record : assert.fail();
}

describe("a compare-and-set", () => {
  it("is written over what was read", async () => {
    const store = new MemoryStore();
    const first = await compareAndSet(store, recordOf("r1"), null);
    assert.ok(first.t === "written");
    const second = await compareAndSet(store, recordOf("r2"), first.stored);
    assert.equal(second.t, "written");
  });

  it("tells what stands where another's write was first", async () => {
    const store = new MemoryStore();
    store.put(recordOf("r1"));
    const lost = await compareAndSet(store, recordOf("r2"), null);
    assert.equal(lost.t, "overtaken");
    assert.equal(lost.stored?.record.requests[0]?.requestId, "r1");
  });

  it("counts as written where nobody heard of it and the very record stands there", async () => {
    const store = new MemoryStore();
    store.failures.push("unknown");
    assert.equal((await compareAndSet(store, recordOf("r1"), null)).t, "written");
  });

  it("rejects where it was lost, or the store cannot say, so that it is tried again", async () => {
    const store = new MemoryStore();
    store.failures.push("lost");
    await assert.rejects(compareAndSet(store, recordOf("r1"), null), { code: "UNAVAILABLE" });
    store.down = true;
    await assert.rejects(compareAndSet(store, recordOf("r1"), null), { code: "UNAVAILABLE" });
  });
});

describe("a buffer of the latest value", () => {
  async function read<T>(of: AsyncIterable<T>): Promise<T[]> {
    const seen: T[] = [];
    for await (const value of of) seen.push(value);
    return seen;
  }

  it("keeps the newest for a slow reader, and the last beyond its end", async () => {
    const values = new LatestValue<number>();
    for (const value of [1, 2, 3]) values.offer(value);
    values.end();
    values.offer(4);
    assert.deepEqual(await read(values), [3]);
  });

  it("wakes a reader that waits", async () => {
    const values = new LatestValue<number>();
    const reading = read(values);
    values.offer(1);
    await Promise.resolve();
    values.end();
    assert.deepEqual(await reading, [1]);
  });

  it("throws at its reader after the last value", async () => {
    const values = new LatestValue<number>();
    values.offer(1);
    values.fail(new Error("The store is gone."));
    await assert.rejects(read(values), /The store is gone/);
  });
});

describe("a migration's deadlines", () => {
  it("pass once each, and not where they are no longer waited for", () => {
    const clock = new VirtualClock();
    const passed: string[] = [];
    const timers = new DeadlineTimers(clock, (name) => passed.push(name));
    const at = (ms: number) => BigInt(clock.unixUs() + ms * 1_000);
    timers.set([
      { name: "askAgain", atUnixUs: at(100) },
      { name: "words", atUnixUs: at(50) },
    ]);
    timers.set([{ name: "askAgain", atUnixUs: at(400) }]);
    clock.advance(60);
    assert.deepEqual(passed, []);
    clock.advance(60);
    assert.deepEqual(passed, ["askAgain"]);
    clock.advance(1_000);
    assert.deepEqual(passed, ["askAgain"]);
  });

  it("that are past already pass as soon as time does", () => {
    const clock = new VirtualClock();
    const passed: string[] = [];
    const timers = new DeadlineTimers(clock, (name) => passed.push(name));
    timers.set([{ name: "words", atUnixUs: 1n }]);
    clock.advance(0);
    assert.deepEqual(passed, ["words"]);
  });
});

describe("the pause between attempts", () => {
  it("doubles up to the longest, however many there were", () => {
    const pauses = [0, 1, 2, 10, 5_000].map((attempt) => backoffMs(attempt, 50, 2_000));
    assert.deepEqual(pauses, [50, 100, 200, 2_000, 2_000]);
  });
});
