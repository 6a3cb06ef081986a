import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
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

function entered(sequence: number, from: Phase, to: Phase): FeedEvent {
  const value = { from, to, outcome: Outcome.UNSPECIFIED, reason: "" };
  return { ...said("", sequence), event: { $case: "phaseChanged", value } };
}

const later = (event: FeedEvent): FeedEvent => ({ ...event, atUnixUs: event.atUnixUs + 1n });

const STOP: QmpRecord = {
  host: "ha",
  instance: "web-ha",
  atUnixUs: 500,
  fact: { kind: "event", name: "STOP", data: {} },
};

describe("an observer's judgement of the feed", () => {
  it("finds nothing wrong with publishers that count from 1, interleaved as they come", () => {
    assert.deepEqual(
      judgeFeed([said("ha", 1), said("", 1), later(said("ha", 2)), said("hb", 1), later(said("", 2))], []),
      [],
    );
  });

  for (const [name, events] of [
    ["a missing event", [said("ha", 1), said("ha", 3)]],
    ["an event told twice", [said("ha", 1), said("ha", 1)]],
    ["one event told under two numbers", [said("ha", 1, 1, 500), said("ha", 2, 1, 500)]],
    [
      "a phase that does not follow the one before",
      [entered(1, Phase.UNSPECIFIED, Phase.PENDING), entered(2, Phase.PREPARING, Phase.TRANSFERRING)],
    ],
    ["events out of order", [said("ha", 2), said("ha", 1)]],
    ["a beginning that was lost", [said("ha", 2)]],
    ["an older epoch after a newer one", [said("ha", 1, 2), said("ha", 2, 1)]],
    ["a STOP that the VMM never reported", [said("ha", 1, 1, 501)]],
  ] as const) {
    it(`finds ${name}`, () => {
      assert.ok(judgeFeed(events, [STOP]).length > 0);
    });
  }

  it("finds nothing wrong with phases that follow each other", () => {
    const phases = [entered(1, Phase.UNSPECIFIED, Phase.PENDING), entered(2, Phase.PENDING, Phase.PREPARING)];
    assert.deepEqual(judgeFeed(phases, []), []);
  });

  it("takes a STOP of an unknown time for true: its agent was away", () => {
    assert.deepEqual(judgeFeed([said("ha", 1, 1, 0)], [STOP]), []);
  });

  it("takes a STOP for true that the witness saw at that very time", () => {
    assert.deepEqual(judgeFeed([said("ha", 1, 1, 500)], [STOP]), []);
  });
});
