import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ToldWords } from "../../agent/feed/told-words.ts";
import type { GuestFeedEvent } from "../../agent/guest/guest-operation.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { FENCE, handOff, MIGRATION, residentGuest } from "./guest-gate.ts";

const GUEST = { ...residentGuest("running"), fence: FENCE };
const KEPT: GuestFeedEvent = { $case: "kept", value: { runState: "running", cpuState: CpuState.RUNNING } };
const NEWER = { epoch: FENCE.epoch + 1n, revision: 1n };

function spooled(event: GuestFeedEvent): string {
  const { guestId, hostId, instanceId, fence } = GUEST;
  const said = {
    migrationId: MIGRATION,
    guestId,
    hostId,
    instanceId,
    fence,
    sequence: 1n,
    atUnixUs: 1n,
    event,
  };
  return JSON.stringify(FeedEvent.toJSON(said));
}

describe("the words that the feed was told", () => {
  it("are known by what was told now, and by what a predecessor spooled", () => {
    const [now, found] = [new ToldWords(), new ToldWords()];
    now.note(GUEST, MIGRATION, KEPT);
    found.recover(spooled(KEPT));
    for (const words of [now, found]) {
      assert.equal(words.has(GUEST, MIGRATION, "kept", FENCE), true);
      assert.equal(words.has(GUEST, MIGRATION, "handedOff", FENCE), false);
      assert.equal(words.has(GUEST, "another", "kept", FENCE), false);
      assert.equal(words.has({ ...GUEST, instanceId: "a2" }, MIGRATION, "kept", FENCE), false);
      assert.equal(words.has({ ...GUEST, hostId: "hb" }, MIGRATION, "kept", FENCE), false);
    }
  });

  it("are those under the word's fence or a newer one", () => {
    const words = new ToldWords();
    words.note(GUEST, MIGRATION, KEPT);
    assert.equal(words.has(GUEST, MIGRATION, "kept", NEWER), false);
    words.note({ ...GUEST, fence: NEWER }, MIGRATION, KEPT);
    words.note(GUEST, MIGRATION, KEPT);
    for (const since of [FENCE, NEWER]) assert.equal(words.has(GUEST, MIGRATION, "kept", since), true);
  });

  it("are all kinds that a predecessor spooled, and a start only after a cont of its own", () => {
    const words = new ToldWords();
    const start = (contSentAtUnixUs: bigint): GuestFeedEvent => ({
      $case: "cpusStarted",
      value: { contSentAtUnixUs, resumedAtUnixUs: 1n },
    });
    words.recover(spooled(start(0n)));
    assert.equal(words.has(GUEST, MIGRATION, "cpusStarted", FENCE), false);
    const events: readonly GuestFeedEvent[] = [
      start(1n),
      { $case: "handedBack", value: { sentence: "" } },
      { $case: "handedOff", value: { handOff: handOff() } },
      { $case: "sourceResumed", value: { runState: "paused" } },
      { $case: "takenOverPaused", value: { runState: "paused" } },
    ];
    for (const event of events) {
      words.recover(spooled(event));
      assert.equal(words.has(GUEST, MIGRATION, event.$case, FENCE), true, event.$case);
    }
  });

  it("are not read from a text that only quotes one, or that is torn", () => {
    const words = new ToldWords();
    const sentence = spooled(KEPT);
    words.recover(spooled({ $case: "alarmRaised", value: { reason: "R", sentence, metadata: {} } }));
    words.recover(sentence.slice(0, -3));
    assert.equal(words.has(GUEST, MIGRATION, "kept", FENCE), false);
  });
});
