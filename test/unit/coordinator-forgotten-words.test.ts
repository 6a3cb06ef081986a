import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { agentEventOf } from "../../coordinator/migration/agent-event.ts";
import { resolutionOf } from "../../coordinator/migration/asks.ts";
import { deadlinesOf } from "../../coordinator/migration/deadlines.ts";
import { FEED_EVENTS_FORGOTTEN } from "../../proto/feed-reason.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import {
  handOffOf,
  inPostCopy,
  outstanding,
  POST_COPY,
  progressOf,
  Story,
  specOf,
} from "./coordinator-story.ts";

const FORGOTTEN = { t: "EventsForgotten" } as const;
const RUNS = { runState: "running", transferStatus: "completed", vmmLost: false };
const KEPT = { answer: "kept", runState: "running", cpuState: CpuState.RUNNING } as const;

function deadlinesIn(story: Story): string[] {
  return deadlinesOf(story.state, 0n, { fenceAfterMs: 10_000 }).map(({ name }) => name);
}

describe("a switchover of which both agents have forgotten what they said", () => {
  it("is learned from their answers, to its end", () => {
    const story = new Story().toTransferring();
    assert.equal(story.says("destination", FORGOTTEN), "|");
    assert.equal(story.says("source", FORGOTTEN), "| getHandOff@source");
    assert.equal(
      story.answers("source", { name: "getHandOff", handOff: handOffOf() }),
      "SWITCHING_OVER | deliverHandOff@destination",
    );
    assert.equal(
      story.answers("destination", { name: "deliverHandOff", takenOver: RUNS }),
      "COMPLETING | releaseSource@source",
    );
    story.answers("source", { name: "releaseSource" });
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "words" }), "COMPLETED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_DESTINATION);
  });

  it("is learned within one host too, of which the forgotten words name no instance", () => {
    const spec = specOf({ destinationHostId: "ha", sourceInstanceId: "a1", destinationInstanceId: "b1" });
    const story = new Story(spec).toTransferring();
    assert.equal(story.says("source", FORGOTTEN, { instanceId: "" }), "| getHandOff@source");
    assert.equal(story.state.destination.wordsForgotten, true);
  });

  it("is learned with a guest that crashed since", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(story.says("destination", FORGOTTEN), "| deliverHandOff@destination");
    story.answers("destination", { name: "deliverHandOff", takenOver: { ...RUNS, vmmLost: true } });
    story.answers("source", { name: "releaseSource" });
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "words" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("ends where the destination has the last page of post-copy, and nobody heard", () => {
    const story = inPostCopy();
    assert.equal(story.says("destination", FORGOTTEN), "| deliverHandOff@destination");
    assert.equal(
      story.answers("destination", { name: "deliverHandOff", takenOver: RUNS }),
      "COMPLETING | releaseSource@source",
    );
  });

  it("is no torn guest where the forgotten words may say that post-copy was over", () => {
    const story = inPostCopy();
    story.says("source", FORGOTTEN);
    story.says("source", { t: "VmmLost", sentence: "Ended." });
    assert.equal(story.phase, "POST_COPY");
    assert.equal(story.status("destination", "completed"), "COMPLETING | releaseSource@source");
    const torn = inPostCopy();
    torn.says("source", FORGOTTEN);
    torn.says("source", { t: "VmmLost", sentence: "Ended." });
    assert.match(torn.status("destination", "postcopy-paused"), /FAILED/);
  });
});

describe("a source that has forgotten what it said of its transfer", () => {
  it("is asked once, and left alone where the transfer goes on", () => {
    const story = new Story().toTransferring();
    story.says("source", FORGOTTEN);
    story.answers("source", { name: "getHandOff", handOff: undefined });
    assert.deepEqual(deadlinesIn(story), ["recall"]);
    story.says("source", { t: "TransferProgressed", progress: progressOf() });
    assert.deepEqual([story.phase, outstanding(story), deadlinesIn(story)], ["TRANSFERRING", [], []]);
  });

  it("may go on in post-copy after its word, which its progress alone does not tell", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.answers("source", { name: "switchToPostCopy" });
    story.says("source", FORGOTTEN);
    story.says("source", { t: "TransferProgressed", progress: progressOf() });
    assert.ok(outstanding(story).includes("getHandOff@source"));
  });

  it("is asked to keep the guest where it says no more, for it may have done so", () => {
    const story = new Story().toTransferring();
    story.says("source", FORGOTTEN);
    story.answers("source", { name: "getHandOff", handOff: undefined });
    assert.equal(
      story.hear({ t: "DeadlinePassed", deadline: "recall" }),
      "ROLLING_BACK | cancelTransfer@source",
    );
    story.answers("source", { name: "cancelTransfer", ...KEPT });
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(story.state.migration.reasonCode, "WORDS_FORGOTTEN");
  });

  it("ends a migration of which its journal knows nothing, by what the destination says, and tells who is waited for", () => {
    const ambiguous = new Story().toStopped();
    ambiguous.awaitsHandOff();
    ambiguous.fails("source", "getHandOff", "UNAVAILABLE");
    ambiguous.hear({ t: "DeadlinePassed", deadline: "askAgain" });
    assert.equal(ambiguous.phase, "AMBIGUOUS");
    const waiting = new Story().toStopped();
    waiting.awaitsHandOff();
    for (const story of [waiting, ambiguous]) {
      assert.equal(
        story.fails("source", "getHandOff", "NOT_FOUND", "WORD_FORGOTTEN"),
        "ROLLING_BACK | cancelTransfer@source",
      );
      story.fails("source", "cancelTransfer", "NOT_FOUND", "WORD_FORGOTTEN");
      story.fails("destination", "handBack", "NOT_FOUND", "INSTANCE_UNKNOWN");
      assert.match(story.state.migration.reason, /handBack says .* Nobody knows whether ha .*: hb is to say/);
      story.hear({ t: "DeadlinePassed", deadline: "askAgain" });
      story.fails("source", "cancelTransfer", "NOT_FOUND", "WORD_FORGOTTEN");
      story.answers("destination", { name: "handBack", answer: "handedBack" });
      story.answers("destination", { name: "abortDestination" });
      story.fails("source", "resumeSource", "FAILED_PRECONDITION", "NOT_ADOPTED");
      assert.match(story.state.migration.reason, /The guest is ha's once its VMM is adopted there/);
      assert.equal(story.state.endingReasonCode, "WORDS_FORGOTTEN");
    }
  });

  it("is asked to run the guest where it does not remember that it kept it: its stop may be what was lost", () => {
    const story = new Story().toTransferring();
    story.says("source", FORGOTTEN);
    story.answers("source", { name: "getHandOff", handOff: undefined });
    story.hear({ t: "DeadlinePassed", deadline: "recall" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "INSTANCE_UNKNOWN");
    story.answers("destination", { name: "handBack", answer: "handedBack" });
    assert.equal(story.answers("destination", { name: "abortDestination" }), "| resumeSource@source");
  });
});

describe("a destination that has the guest, of which nobody heard", () => {
  const delivered = () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    story.awaitsHandOff();
    story.answers("destination", { name: "deliverHandOff" });
    return story;
  };

  it("is asked again and again while it does not say so", () => {
    const story = delivered();
    assert.deepEqual(deadlinesIn(story), ["takeOver"]);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "takeOver" }), "| deliverHandOff@destination");
    assert.equal(
      story.answers("destination", { name: "deliverHandOff", takenOver: RUNS }),
      "COMPLETING | releaseSource@source",
    );
  });

  it("is asked as soon as it is unheard, and when it is back", () => {
    const story = delivered();
    assert.equal(
      story.hear({ t: "HostUnreachable", side: "destination" }),
      "AMBIGUOUS | deliverHandOff@destination",
    );
    story.fails("destination", "deliverHandOff", "UNAVAILABLE");
    assert.equal(story.status("destination", "completed"), "| deliverHandOff@destination");
    assert.equal(
      story.answers("destination", { name: "deliverHandOff", takenOver: RUNS }),
      "COMPLETING | releaseSource@source",
    );
  });

  it("is asked on while an older agent answers without that", () => {
    const story = delivered();
    story.hear({ t: "HostUnreachable", side: "destination" });
    story.answers("destination", { name: "deliverHandOff" });
    assert.deepEqual([story.phase, deadlinesIn(story)], ["AMBIGUOUS", ["takeOver"]]);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "takeOver" }), "| deliverHandOff@destination");
  });

  it("may be given up, or asked for the guest, by an operator where it never says so", () => {
    for (const resolution of ["guestLost", "resumeSource"] as const) {
      const healthy = new Story().toStopped();
      healthy.handsOff();
      assert.equal(resolutionOf([], resolution).refusal(healthy.state)?.reason, "NOT_AMBIGUOUS");
      assert.equal(healthy.hear({ t: "Resolved", resolution }), "|");
    }
    const forgotten = new Story().toStopped();
    forgotten.handsOff();
    forgotten.says("destination", FORGOTTEN);
    for (const stuck of [delivered(), forgotten]) {
      assert.equal(resolutionOf([], "guestLost").refusal(stuck.state), null);
    }
    assert.equal(delivered().hear({ t: "Resolved", resolution: "guestLost" }), "FAILED |");
    const story = delivered();
    assert.equal(resolutionOf([], "resumeSource").refusal(story.state), null);
    assert.equal(
      story.hear({ t: "Resolved", resolution: "resumeSource" }),
      "HANDING_BACK | handBack@destination",
    );
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "tooLate", vmmLost: false }),
      "COMPLETING | releaseSource@source",
    );
  });
});

describe("an event that an agent has let go of", () => {
  it("is no alarm", () => {
    const value = { reason: FEED_EVENTS_FORGOTTEN, sentence: "", metadata: {} };
    const event = agentEventOf({
      migrationId: "web-7-mk3v0q8ya1z9",
      guestId: "web-7",
      hostId: "ha",
      instanceId: "",
      fence: undefined,
      sequence: 3n,
      atUnixUs: 0n,
      event: { $case: "alarmRaised", value },
    });
    assert.deepEqual([event?.t, event?.sequence], ["EventsForgotten", 3n]);
  });
});
