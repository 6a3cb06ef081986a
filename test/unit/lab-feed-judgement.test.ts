import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { judgeFeed } from "../lab/witness/feed-judgement.ts";
import type { QmpRecord } from "../lab/witness/records.ts";

function said(hostId: string, sequence: number, epoch = 1, stoppedAtUnixUs?: number): FeedEvent {
  return {
    migrationId: "web-mk3v0q8ya1z9",
    guestId: "web",
    hostId,
    instanceId: `web-${hostId}`,
    fence: { epoch: BigInt(epoch), revision: 1n },
    sequence: BigInt(sequence),
    atUnixUs: 1n,
    event:
      stoppedAtUnixUs === undefined
        ? { $case: "handOffAwaited", value: { waitedMs: 20 } }
        : {
            $case: "cpusStopped",
            value: { stoppedAtUnixUs: BigInt(stoppedAtUnixUs), receivedAtUnixUs: 0n },
          },
  };
}

const STOP: QmpRecord = {
  host: "ha",
  instance: "web-ha",
  atUnixUs: 500,
  fact: { kind: "event", name: "STOP", data: {} },
};

describe("an observer's judgement of the feed", () => {
  it("finds nothing wrong with publishers that count from 1, interleaved as they come", () => {
    assert.deepEqual(
      judgeFeed([said("ha", 1), said("", 1), said("ha", 2), said("hb", 1), said("", 2)], []),
      [],
    );
  });

  for (const [name, events] of [
    ["a missing event", [said("ha", 1), said("ha", 3)]],
    ["an event told twice", [said("ha", 1), said("ha", 1)]],
    ["events out of order", [said("ha", 2), said("ha", 1)]],
    ["a beginning that was lost", [said("ha", 2)]],
    ["an older epoch after a newer one", [said("ha", 1, 2), said("ha", 2, 1)]],
    ["a STOP that the VMM never reported", [said("ha", 1, 1, 501)]],
  ] as const) {
    it(`finds ${name}`, () => {
      assert.ok(judgeFeed(events, [STOP]).length > 0);
    });
  }

  it("takes a STOP for true that the witness saw at that very time", () => {
    assert.deepEqual(judgeFeed([said("ha", 1, 1, 500)], [STOP]), []);
  });
});
