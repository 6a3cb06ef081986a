import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CANCEL, SWITCH_TO_POST_COPY } from "../../coordinator/migration/asks.ts";
import { deadlinesOf } from "../../coordinator/migration/deadlines.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { inPostCopy, outstanding, POST_COPY, Story } from "./coordinator-story.ts";

const LIMITS = { fenceAfterMs: 10_000 };

function breaks(story: Story): string {
  story.status("destination", "postcopy-paused");
  return story.status("source", "postcopy-paused");
}

function isRecovered(story: Story): void {
  story.answers("destination", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
  story.answers("source", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
  story.status("source", "postcopy-active");
  assert.equal(story.status("destination", "postcopy-active"), "POST_COPY |");
}

describe("a post-copy transfer that a caller pauses", () => {
  it("stays paused until a caller has it recovered", () => {
    const story = inPostCopy();
    assert.equal(story.hear({ t: "PauseAsked" }), "| pauseMigration@source");
    assert.equal(story.answers("source", { name: "pauseMigration" }), "|");
    breaks(story);
    assert.equal(story.phase, "POST_COPY_PAUSED");
    assert.equal(story.state.migration.reasonCode, "PAUSED_BY_CALLER");
    assert.deepEqual(outstanding(story), []);
    assert.deepEqual(deadlinesOf(story.state, 1n, LIMITS), []);
    assert.equal(story.hear({ t: "RecoverAsked" }), "| recoverMigration@destination");
    isRecovered(story);
    assert.deepEqual(outstanding(story), []);
  });

  it("is paused again where it was being recovered", () => {
    const story = inPostCopy();
    breaks(story);
    assert.deepEqual(outstanding(story), ["recoverMigration@destination"]);
    story.hear({ t: "PauseAsked" });
    assert.deepEqual(outstanding(story), []);
    story.status("source", "postcopy-active");
    assert.equal(story.status("destination", "postcopy-active"), "POST_COPY | pauseMigration@source");
  });

  it("is asked again to pause where its VMM did not answer or refused", () => {
    const story = inPostCopy();
    story.hear({ t: "PauseAsked" });
    story.fails("source", "pauseMigration", "FAILED_PRECONDITION", "NOT_POST_COPY");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| pauseMigration@source");
  });

  it("is not, in a phase that has no stream to pause", () => {
    const story = inPostCopy();
    story.status("destination", "completed");
    assert.equal(story.hear({ t: "PauseAsked" }), "|");
    assert.equal(story.state.pauseHeld, false);
  });
});

describe("a post-copy transfer that breaks", () => {
  it("is recovered at once the first time, and later after rests that grow and end", () => {
    const story = inPostCopy();
    const rests: bigint[] = [];
    for (let pause = 1; pause <= 65; pause += 1) {
      breaks(story);
      assert.equal(story.phase, "POST_COPY_PAUSED");
      const [deadline] = deadlinesOf(story.state, 0n, LIMITS);
      if (pause > 64) assert.equal(deadline, undefined);
      if (deadline !== undefined) {
        assert.equal(deadline.name, "recover");
        rests.push((deadline.atUnixUs - (story.state.migration.phases.at(-1)?.atUnixUs ?? 0n)) / 1_000_000n);
        assert.deepEqual(outstanding(story), []);
        story.hear({ t: "DeadlinePassed", deadline: "recover" });
      }
      if (pause <= 64) isRecovered(story);
    }
    assert.deepEqual(rests.slice(0, 7), [1n, 2n, 4n, 8n, 16n, 30n, 30n]);
    assert.equal(rests.length, 63);
    assert.equal(story.state.migration.reasonCode, "BREAKS_AGAIN");
    assert.equal(story.hear({ t: "RecoverAsked" }), "| recoverMigration@destination");
  });

  it("is recovered again and again until both sides are ready, the destination first each time", () => {
    const story = inPostCopy();
    story.status("source", "postcopy-paused");
    for (let attempt = 0; attempt < 20; attempt += 1) {
      story.fails("destination", "recoverMigration", "FAILED_PRECONDITION", "NOT_PAUSED");
      assert.deepEqual(outstanding(story), []);
      assert.equal(
        story.hear({ t: "DeadlinePassed", deadline: "askAgain" }),
        "| recoverMigration@destination",
      );
    }
    for (let attempt = 0; attempt < 20; attempt += 1) {
      story.answers("destination", { name: "recoverMigration", recoveryUri: `tcp:10.0.0.2:${attempt}` });
      assert.deepEqual(outstanding(story), attempt === 0 ? ["recoverMigration@source"] : []);
      if (attempt > 0) {
        assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| recoverMigration@source");
      }
      assert.equal(
        story.fails("source", "recoverMigration", "FAILED_PRECONDITION", "REFUSED"),
        "| recoverMigration@destination",
      );
    }
  });

  it("is recovered anew where the source was told to connect and nothing came of it", () => {
    const story = inPostCopy();
    breaks(story);
    story.answers("destination", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
    story.answers("source", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
    assert.deepEqual(deadlinesOf(story.state, 7n, LIMITS), [{ name: "recover", atUnixUs: 5_000_007n }]);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "recover" }), "| recoverMigration@destination");
  });

  it("is still paused where a destination that listens anew says `setup`", () => {
    const story = inPostCopy();
    story.status("destination", "postcopy-paused");
    story.answers("destination", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
    assert.equal(story.status("destination", "setup"), "|");
    assert.deepEqual(outstanding(story), ["recoverMigration@source"]);
  });

  it("because it stalled is paused by us, and recovered by itself", () => {
    const story = inPostCopy();
    assert.equal(
      story.says("source", { t: "TransferStalled", stalledForMs: 5_000 }),
      "| pauseMigration@source",
    );
    story.answers("source", { name: "pauseMigration" });
    breaks(story);
    assert.deepEqual(outstanding(story), ["recoverMigration@destination"]);
  });

  it("after the hand-off and before the destination has loaded the guest is recovered at once", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.answers("source", { name: "switchToPostCopy" });
    story.status("source", "postcopy-active");
    story.handsOff();
    story.status("destination", "postcopy-active");
    assert.equal(story.status("source", "postcopy-paused"), "| recoverMigration@destination");
    story.fails("destination", "recoverMigration", "FAILED_PRECONDITION", "NOT_PAUSED");
    story.status("destination", "postcopy-paused");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| recoverMigration@destination");
    story.answers("destination", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
    story.answers("source", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" });
    assert.deepEqual(deadlinesOf(story.state, 7n, LIMITS), [
      { name: "takeOver", atUnixUs: 12_000_007n },
      { name: "recover", atUnixUs: 5_000_007n },
    ]);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "recover" }), "| recoverMigration@destination");
    story.status("source", "postcopy-active");
    story.status("destination", "postcopy-active");
    assert.deepEqual(outstanding(story), []);
    assert.equal(story.startsCpus(), "POST_COPY |");
  });

  it("stalled after the hand-off is broken to be recovered once the destination has the device state", () => {
    const stalled = { t: "TransferStalled", stalledForMs: 5_000 } as const;
    const story = new Story(POST_COPY).toTransferring();
    story.answers("source", { name: "switchToPostCopy" });
    story.status("source", "postcopy-active");
    story.handsOff();
    assert.equal(story.says("source", stalled), "|");
    story.status("destination", "postcopy-active");
    assert.equal(story.says("source", stalled), "| pauseMigration@source");
  });

  it("at the destination alone is paused at the source as well, once that has waited in vain", () => {
    const story = inPostCopy();
    story.status("destination", "postcopy-paused");
    assert.equal(
      story.says("source", { t: "TransferStalled", stalledForMs: 5_000 }),
      "| pauseMigration@source",
    );
    story.status("source", "postcopy-paused");
    assert.equal(story.state.pauseWanted, false);
    isRecovered(story);
    assert.deepEqual(outstanding(story), []);
  });

  it("is given up with its guest when an operator says so, and its reason says what it waits for till then", () => {
    const story = inPostCopy();
    breaks(story);
    story.fails("destination", "recoverMigration", "FAILED_PRECONDITION", "NOT_PAUSED");
    assert.equal(story.state.migration.reasonCode, "NOT_PAUSED");
    assert.equal(story.hear({ t: "Resolved", resolution: "guestLost" }), "FAILED |");
    assert.match(story.state.migration.reason, /^The guest is lost/);
  });
});

describe("a post-copy that a caller asks for", () => {
  const asked = (): Story => {
    const story = new Story(POST_COPY).toTransferring();
    story.hear({ t: "PostCopyAsked" });
    return story;
  };

  it("is not had where the migration ends without it, failed or cancelled", () => {
    const failed = asked();
    failed.status("source", "failed", "The stream broke.");
    const cancelled = asked();
    cancelled.hear({ t: "CancelAsked" });
    cancelled.answers("source", {
      name: "cancelTransfer",
      answer: "kept",
      runState: "running",
      cpuState: CpuState.RUNNING,
    });
    for (const story of [failed, cancelled]) story.answers("destination", { name: "abortDestination" });
    assert.deepEqual([failed.phase, cancelled.phase], ["FAILED", "CANCELLED"]);
    for (const { state } of [failed, cancelled]) assert.equal(SWITCH_TO_POST_COPY.isSo(state), false);
  });

  it("is had while it is on its way, once it is so, and where the guest moved without it", () => {
    assert.equal(SWITCH_TO_POST_COPY.isSo(asked().state), true);
    const torn = inPostCopy();
    breaks(torn);
    torn.hear({ t: "Resolved", resolution: "guestLost" });
    assert.equal(torn.phase, "FAILED");
    assert.equal(SWITCH_TO_POST_COPY.isSo(torn.state), true);
    const moved = asked();
    moved.status("source", "completed");
    moved.handsOff();
    moved.isReady();
    moved.receivesHandOff();
    moved.startsCpus();
    moved.status("destination", "completed");
    moved.announces();
    moved.answers("source", { name: "releaseSource" });
    moved.hear({ t: "DeadlinePassed", deadline: "words" });
    assert.equal(moved.phase, "COMPLETED");
    assert.equal(SWITCH_TO_POST_COPY.isSo(moved.state), true);
  });

  it("can no longer be cancelled once it is so, which is not said to be a hand-off before there is one", () => {
    const story = asked();
    assert.equal(CANCEL.refusal(story.state), null);
    story.status("source", "postcopy-active");
    assert.match(CANCEL.refusal(story.state)?.message ?? "", /^The transfer is in post-copy: /);
    story.handsOff();
    assert.match(CANCEL.refusal(story.state)?.message ?? "", /^The source has given the guest away: /);
  });
});
