import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FeedLog } from "../../agent/feed/feed-log.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { FENCE, GUEST, MIGRATION } from "./guest-gate.ts";

function said(migrationId: string, waitedMs: number): Omit<FeedEvent, "sequence"> {
  return {
    migrationId,
    guestId: GUEST,
    hostId: "ha",
    instanceId: "a1",
    fence: FENCE,
    atUnixUs: 1n,
    event: { $case: "handOffAwaited", value: { waitedMs } },
  };
}

async function take(events: AsyncIterable<FeedEvent>, count: number): Promise<bigint[]> {
  const sequences: bigint[] = [];
  for await (const { sequence } of events) {
    sequences.push(sequence);
    if (sequences.length === count) break;
  }
  return sequences;
}

describe("what an agent has said", () => {
  it("is numbered from 1 for each migration and for each guest outside one", () => {
    const log = new FeedLog();
    const numbers = [said(MIGRATION, 1), said("", 1), said(MIGRATION, 2), said("", 2)].map(
      (event) => log.append(event).sequence,
    );
    assert.deepEqual(numbers, [1n, 1n, 2n, 2n]);
  });

  it("reaches a follower from where it was, past and future, without a gap", async () => {
    const log = new FeedLog();
    for (let index = 0; index < 4; index++) log.append(said(MIGRATION, index));
    const following = take(log.follow(GUEST, MIGRATION, 2n, new AbortController().signal), 4);
    log.append(said("", 0));
    log.append(said(MIGRATION, 4));
    log.append(said(MIGRATION, 5));
    assert.deepEqual(await following, [3n, 4n, 5n, 6n]);
  });

  it("ends for a follower that leaves", async () => {
    const log = new FeedLog();
    log.append(said(MIGRATION, 0));
    const leaving = new AbortController();
    const events = log.follow(GUEST, MIGRATION, 0n, leaving.signal)[Symbol.asyncIterator]();
    assert.equal((await events.next()).value?.sequence, 1n);
    const waiting = events.next();
    leaving.abort();
    assert.equal((await waiting).done, true);
  });

  for (const [many, ends] of [
    [4096, false],
    [4097, true],
  ] as const) {
    it(`${ends ? "ends" : "goes on"} for a follower that ${many} events wait for`, async () => {
      const log = new FeedLog();
      const events = log.follow(GUEST, MIGRATION, 0n, new AbortController().signal)[Symbol.asyncIterator]();
      const first = events.next();
      for (let index = 0; index < many; index++) log.append(said(MIGRATION, index));
      assert.equal((await first).done === true, ends);
    });
  }
});
