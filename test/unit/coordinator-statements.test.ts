import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { deadlinesOf } from "../../coordinator/migration/deadlines.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { handOffOf, POST_COPY, Story, specOf } from "./coordinator-story.ts";

describe("a host that is declared dead", () => {
  it("changes nothing about a word that it gave before", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    assert.equal(story.hear({ t: "HostDeclaredDead", side: "source" }), "|");
    assert.equal(story.state.migration.fence.epoch, 1n);
    assert.equal(story.startsCpus(), "COMPLETING |");
  });

  it("leaves its guest to a destination that has loaded it, under a new epoch", () => {
    const story = new Story().toStopped();
    story.isReady();
    story.awaitsHandOff();
    story.hear({ t: "HostUnreachable", side: "source" });
    assert.equal(story.phase, "AMBIGUOUS");
    assert.equal(story.hear({ t: "HostDeclaredDead", side: "source" }), "| deliverHandOff@destination");
    assert.equal(story.state.migration.fence.epoch, 2n);
    assert.equal(story.startsCpus(), "COMPLETING |");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "words" }), "COMPLETED |");
  });

  it("leaves its guest as its owner had it last, running or not", () => {
    const stop = { t: "CpusStopped", stoppedAtUnixUs: 1_000n, receivedAtUnixUs: 1_050n } as const;
    const paused = new Story().toTransferring();
    paused.says("source", stop);
    paused.says("source", { t: "StopExplained", runState: "paused" });
    paused.isReady();
    assert.equal(paused.hear({ t: "HostDeclaredDead", side: "source" }), "| deliverHandOff@destination");
    assert.equal(paused.state.handOff?.runState, "paused");

    const started = new Story().toTransferring("paused");
    started.says("source", { t: "CpusStarted", contSentAtUnixUs: 900n, resumedAtUnixUs: 950n });
    started.says("source", stop);
    started.says("source", { t: "StopExplained", runState: "finish-migrate" });
    started.isReady();
    assert.equal(started.hear({ t: "HostDeclaredDead", side: "source" }), "| deliverHandOff@destination");
    assert.equal(started.state.handOff?.runState, "running");
  });

  for (const [fact, word] of [
    ["started", { t: "CpusStarted", contSentAtUnixUs: 4_000n, resumedAtUnixUs: 4_100n }],
    ["took over as it stood", { t: "TakenOverPaused", runState: "paused" }],
  ] as const) {
    it(`leaves its guest to a destination that ${fact} by the word that was on its way`, () => {
      const story = new Story().toStopped();
      story.isReady();
      story.awaitsHandOff();
      story.hear({ t: "HostDeclaredDead", side: "source" });
      assert.equal(story.says("destination", word, { epoch: 1n }), "COMPLETING |");
    });
  }

  it("has taken the guest over nowhere, whatever it tells of the time before", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "destination" }),
      "HANDING_BACK | resumeSource@source",
    );
    const word = { t: "CpusStarted", contSentAtUnixUs: 4_000n, resumedAtUnixUs: 4_100n } as const;
    assert.equal(story.says("destination", word, { epoch: 1n }), "|");
  });

  it("takes its guest with it where the destination says that it has not got all of it", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "source" }),
      "SWITCHING_OVER | deliverHandOff@destination",
    );
    story.answers("destination", { name: "deliverHandOff" });
    assert.equal(
      story.says("destination", { t: "HandedBack", sentence: "Its VMM could not load the guest." }),
      "HANDING_BACK | abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("is powered off by the fencing command after a while, and not if it speaks by then", () => {
    const ambiguous = () => {
      const story = new Story().toStopped();
      story.isReady();
      story.awaitsHandOff();
      story.hear({ t: "HostUnreachable", side: "source" });
      return story;
    };
    const silent = ambiguous();
    assert.equal(silent.hear({ t: "DeadlinePassed", deadline: "fenceSource" }), "| fenceHost@source");
    assert.equal(silent.answers("source", { name: "fenceHost" }), "| deliverHandOff@destination");
    const speaking = ambiguous();
    speaking.says("source", { t: "AlarmRaised", reason: "X", sentence: "x" });
    assert.equal(speaking.hear({ t: "DeadlinePassed", deadline: "fenceSource" }), "|");
  });
});

describe("a host that is silent", () => {
  it("is never fenced where the guest would be lost with it", () => {
    const handedBack = new Story().toStopped();
    handedBack.handsOff();
    handedBack.says("destination", { t: "HandedBack", sentence: "The load failed." });
    handedBack.hear({ t: "HostUnreachable", side: "source" });
    const postCopy = new Story(POST_COPY).toTransferring();
    postCopy.status("source", "postcopy-active");
    postCopy.awaitsHandOff();
    postCopy.hear({ t: "HostUnreachable", side: "source" });
    assert.deepEqual([handedBack.phase, postCopy.phase], ["HANDING_BACK", "AMBIGUOUS"]);
    for (const story of [handedBack, postCopy]) {
      assert.equal(story.hear({ t: "DeadlinePassed", deadline: "fenceSource" }), "|");
    }
  });

  it("is fenced by nobody who has not tried to hear it for as long as the bound", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.hear({ t: "HostUnreachable", side: "destination" });
    const deadlines = deadlinesOf(story.state, 77n, { fenceAfterMs: 12_000 });
    assert.deepEqual(deadlines, [{ name: "fenceDestination", atUnixUs: 12_000_077n }]);
  });

  it("is dead once the fencing command succeeded, also where it spoke meanwhile", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.hear({ t: "HostUnreachable", side: "destination" });
    assert.equal(
      story.hear({ t: "DeadlinePassed", deadline: "fenceDestination" }),
      "| fenceHost@destination",
    );
    story.says("destination", { t: "AlarmRaised", reason: "X", sentence: "x" });
    assert.equal(story.answers("destination", { name: "fenceHost" }), "HANDING_BACK | resumeSource@source");
  });
});

describe("an operator", () => {
  const ambiguous = () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.hear({ t: "HostUnreachable", side: "destination" });
    return story;
  };

  it("resumes the source with the destination's fence only", () => {
    const story = ambiguous();
    assert.equal(
      story.hear({ t: "Resolved", resolution: "resumeSource" }),
      "HANDING_BACK | handBack@destination",
    );
    assert.match(
      story.state.migration.reason,
      /runs the guest once hb says that it never started it, or is dead/,
    );
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "handedBack" }),
      "| resumeSource@source",
    );
  });

  it("gives up a guest that nobody has", () => {
    const story = ambiguous();
    assert.equal(story.hear({ t: "Resolved", resolution: "guestLost" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("gives up a guest whose rollback waits for a source that nobody can ask", () => {
    const story = new Story().toTransferring();
    story.status("destination", "failed");
    story.hear({ t: "HostUnreachable", side: "source" });
    assert.equal(story.phase, "ROLLING_BACK");
    assert.equal(story.hear({ t: "Resolved", resolution: "guestLost" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    assert.equal(story.state.migration.reasonCode, "GIVEN_UP");
  });

  it("changes nothing where nothing waits", () => {
    for (const resolution of ["guestLost", "resumeSource"] as const) {
      const story = new Story().toTransferring();
      assert.equal(story.hear({ t: "Resolved", resolution }), "|");
    }
  });

  it("that wants the source has a silent one asked whether it handed off, once the destination is fenced", () => {
    const silent = () => {
      const story = new Story().toStopped();
      story.isReady();
      story.awaitsHandOff();
      story.hear({ t: "HostUnreachable", side: "source" });
      assert.equal(
        story.hear({ t: "Resolved", resolution: "resumeSource" }),
        "HANDING_BACK | handBack@destination",
      );
      assert.equal(
        story.answers("destination", { name: "handBack", answer: "handedBack" }),
        "| cancelTransfer@source",
      );
      assert.equal(story.state.migration.fence.epoch, 1n);
      return story;
    };
    const kept = silent();
    const answer = { answer: "kept", runState: "running", cpuState: CpuState.STOPPED } as const;
    assert.equal(
      kept.answers("source", { name: "cancelTransfer", ...answer }),
      "| abortDestination@destination",
    );
    assert.equal(kept.answers("destination", { name: "abortDestination" }), "| resumeSource@source");
    assert.equal(kept.answers("source", { name: "resumeSource", runState: "running" }), "FAILED |");
    assert.equal(kept.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
    const handedOff = silent();
    assert.equal(
      handedOff.answers("source", { name: "cancelTransfer", answer: "tooLate", handOff: handOffOf() }),
      "| resumeSource@source",
    );
    assert.equal(handedOff.state.migration.fence.epoch, 2n);
  });
});

describe("the words of agents", () => {
  it("count once, whichever way they come", () => {
    const story = new Story().toTransferring();
    const word = story.wordOf("source", { t: "CpusStopped", stoppedAtUnixUs: 1n, receivedAtUnixUs: 2n });
    story.hear(word);
    const once = story.state;
    story.hear(word);
    assert.equal(story.state, once);
  });

  it("count only after what their host said before", () => {
    const story = new Story().toTransferring();
    const first = story.wordOf("source", { t: "CpusStopped", stoppedAtUnixUs: 1n, receivedAtUnixUs: 2n });
    const second = story.wordOf("source", { t: "HandedOff", handOff: handOffOf() });
    const before = story.state;
    story.hear(second);
    assert.equal(story.state, before);
    story.hear(first);
    story.hear(second);
    assert.equal(story.state.handedOff, true);
  });

  it("of an old epoch, or not understood, leave no gap and teach nothing", () => {
    const story = new Story().toTransferring();
    story.says("source", { t: "HandedOff", handOff: handOffOf() }, { epoch: 0n });
    story.says("source", { t: "NotUnderstood" });
    assert.equal(story.state.handedOff, false);
    assert.equal(story.status("source", "failed"), "ROLLING_BACK | abortDestination@destination");
  });

  it("of a stranger, or of another migration, count for nothing", () => {
    const story = new Story().toTransferring();
    const before = story.state;
    story.hear({ ...story.wordOf("source", { t: "VmmLost", sentence: "x" }), hostId: "hx", sequence: 1n });
    story.hear({
      ...story.wordOf("source", { t: "VmmLost", sentence: "x" }),
      migrationId: "web-7-000000000000",
    });
    assert.equal(story.state, before);
  });

  it("within one host are told apart by the instance", () => {
    const spec = specOf({ destinationHostId: "ha", sourceInstanceId: "a1", destinationInstanceId: "b1" });
    const story = new Story(spec).toStopped();
    story.handsOff();
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });

  it("that a VMM runs without our `cont` are no take-over, before the hand-off or after", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.says("destination", { t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 5n }),
      "|",
    );
    assert.equal(story.phase, "TRANSFERRING");
    story.handsOff();
    const again = story.says("destination", { t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 6n });
    assert.equal(again, "|");
    assert.equal(story.phase, "SWITCHING_OVER");
  });
});
