import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { deadlinesOf } from "../../coordinator/migration/deadlines.ts";
import { NO_WAY_BACK } from "../../coordinator/migration/facts.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { handOffOf, POST_COPY, Story } from "./coordinator-story.ts";

const KEPT = { answer: "kept", runState: "running", cpuState: CpuState.STOPPED } as const;

describe("a hand-off that does not arrive", () => {
  it("is fetched from the source and brought to the destination", () => {
    const story = new Story().toStopped();
    assert.equal(story.awaitsHandOff(), "| getHandOff@source");
    assert.equal(
      story.answers("source", { name: "getHandOff", handOff: handOffOf() }),
      "| deliverHandOff@destination",
    );
    assert.equal(story.answers("destination", { name: "deliverHandOff" }), "|");
    assert.equal(story.receivesHandOff(), "|");
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });

  it("is not fetched where the source's own word has come meanwhile", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(story.awaitsHandOff(), "| deliverHandOff@destination");
  });

  it("is asked for again where the source has not given it yet", () => {
    const story = new Story().toStopped();
    story.awaitsHandOff();
    assert.equal(story.answers("source", { name: "getHandOff", handOff: undefined }), "|");
    assert.equal(story.phase, "SWITCHING_OVER");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| getHandOff@source");
  });

  it("of another epoch teaches nothing", () => {
    const story = new Story().toStopped();
    story.awaitsHandOff();
    const fence = { epoch: 0n, revision: 9n };
    story.answers("source", { name: "getHandOff", handOff: handOffOf({ fence }) });
    assert.equal(story.state.handOff, undefined);
  });

  it("is ambiguous where the source cannot be asked, until it can", () => {
    const story = new Story().toStopped();
    story.awaitsHandOff();
    assert.equal(story.fails("source", "getHandOff", "UNAVAILABLE"), "AMBIGUOUS |");
    assert.equal(story.state.migration.reasonCode, "SOURCE_SILENT");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| getHandOff@source");
    assert.equal(
      story.answers("source", { name: "getHandOff", handOff: handOffOf() }),
      "| deliverHandOff@destination",
    );
    story.receivesHandOff();
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });

  it("is brought again at once to a destination that was given it, came back since, and awaits it", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    assert.equal(story.awaitsHandOff(), "| deliverHandOff@destination");
    story.answers("destination", { name: "deliverHandOff" });
    assert.equal(story.awaitsHandOff(), "| deliverHandOff@destination");
    assert.equal(story.awaitsHandOff(), "|");
  });

  it("is rolled back where the source answers that it never handed off", () => {
    const story = new Story().toStopped();
    story.awaitsHandOff();
    story.fails("source", "getHandOff", "UNAVAILABLE");
    story.hear({ t: "DeadlinePassed", deadline: "askAgain" });
    assert.equal(
      story.answers("source", { name: "getHandOff", handOff: undefined }),
      "ROLLING_BACK | cancelTransfer@source",
    );
  });

  it("is not waited for without end: the source says whether it keeps the guest", () => {
    const story = new Story().toStopped();
    story.awaitsHandOff();
    const deadlines = deadlinesOf(story.state, 5n, { fenceAfterMs: 10_000 });
    assert.deepEqual(deadlines, [{ name: "handOff", atUnixUs: 10_000_005n }]);
    assert.equal(
      story.hear({ t: "DeadlinePassed", deadline: "handOff" }),
      "ROLLING_BACK | cancelTransfer@source",
    );
    assert.equal(
      story.answers("source", { name: "cancelTransfer", answer: "tooLate", handOff: handOffOf() }),
      "SWITCHING_OVER | deliverHandOff@destination",
    );
  });

  it("is brought once more to a destination that says nothing of it, and may have forgotten the guest", () => {
    const story = new Story().toStopped();
    story.handsOff();
    const deadlines = deadlinesOf(story.state, 5n, { fenceAfterMs: 10_000 });
    assert.deepEqual(deadlines, [{ name: "takeOver", atUnixUs: 12_000_005n }]);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "takeOver" }), "| deliverHandOff@destination");
    assert.equal(
      story.fails("destination", "deliverHandOff", "NOT_FOUND"),
      "HANDING_BACK | handBack@destination",
    );
    assert.equal(story.fails("destination", "handBack", "NOT_FOUND"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| handBack@destination");
  });

  it("ends an ambiguity in post-copy with the destination's own word", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.awaitsHandOff();
    assert.equal(story.hear({ t: "HostUnreachable", side: "source" }), "AMBIGUOUS |");
    assert.equal(story.startsCpus(), "POST_COPY |");
  });

  it("is ambiguous where the destination, once given the right, falls silent", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(
      story.hear({ t: "HostUnreachable", side: "destination" }),
      "AMBIGUOUS | deliverHandOff@destination",
    );
    assert.equal(story.state.migration.reasonCode, "DESTINATION_SILENT");
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });
});

describe("handing back", () => {
  it("gives the source a new epoch, and only after the destination's word", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(
      story.says("destination", { t: "HandedBack", sentence: "The load failed." }),
      "HANDING_BACK | resumeSource@source",
    );
    assert.equal(story.state.migration.fence.epoch, 2n);
    assert.equal(story.last?.commands[0]?.epoch, 2n);
    assert.equal(
      story.answers("source", { name: "resumeSource", runState: "running" }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(story.state.migration.reason, "The load failed.");
  });

  it("asks a destination that lost its VMM for its word", () => {
    const story = new Story().toStopped();
    story.handsOff();
    assert.equal(
      story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }),
      "HANDING_BACK | handBack@destination",
    );
    assert.equal(story.state.migration.fence.epoch, 1n);
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "handedBack" }),
      "| resumeSource@source",
    );
    assert.equal(story.state.migration.fence.epoch, 2n);
  });

  it("loses the guest where `cont` was sent before the VMM was lost", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.says("destination", { t: "VmmLost", sentence: "QEMU ended." });
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "tooLate", vmmLost: false }),
      "COMPLETING | releaseSource@source",
    );
    story.answers("source", { name: "releaseSource" });
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "words" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    assert.notEqual(story.state.migration.reason, "");
  });

  it("needs no word of a host that was declared dead", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.hear({ t: "HostUnreachable", side: "destination" });
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "destination" }),
      "HANDING_BACK | resumeSource@source",
    );
    assert.equal(story.answers("source", { name: "resumeSource", runState: "running" }), "FAILED |");
  });

  it("starts the guest at the destination after all, once, where post-copy has no way back", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.handsOff();
    story.says("destination", { t: "HandedBack", sentence: "Registration was refused." });
    assert.equal(
      story.fails("source", "resumeSource", "FAILED_PRECONDITION", NO_WAY_BACK),
      "SWITCHING_OVER | deliverHandOff@destination",
    );
    assert.equal(story.state.migration.fence.epoch, 3n);
    assert.equal(story.state.handOff?.fence?.epoch, 3n);
    assert.equal(story.startsCpus(), "POST_COPY |");
  });

  it("keeps the destination's VMM while the source's is not under its gate, which may change", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.handsOff();
    story.says("destination", { t: "HandedBack", sentence: "Registration was refused." });
    assert.equal(story.fails("source", "resumeSource", "FAILED_PRECONDITION", "NOT_ADOPTED"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| resumeSource@source");
    assert.equal(
      story.answers("source", { name: "resumeSource", runState: "running" }),
      "| abortDestination@destination",
    );
  });

  it("fails where neither side can start the guest", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.handsOff();
    for (const sentence of ["Registration was refused.", "Again."]) {
      story.says("destination", { t: "HandedBack", sentence });
      story.fails("source", "resumeSource", "FAILED_PRECONDITION", NO_WAY_BACK);
    }
    assert.equal(story.phase, "HANDING_BACK");
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    assert.match(story.state.migration.reason, /^The guest is lost\. .*resumeSource failed/);
  });

  it("before the source handed off is no word about the source, which is asked to keep the guest", () => {
    const story = new Story().toStopped();
    assert.equal(
      story.says("destination", { t: "HandedBack", sentence: "The load failed." }),
      "ROLLING_BACK | cancelTransfer@source",
    );
    assert.equal(story.state.handedOff, false);
    assert.equal(
      story.answers("source", { name: "cancelTransfer", ...KEPT }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "| resumeSource@source");
    assert.equal(story.state.migration.fence.epoch, 1n);
    assert.equal(story.answers("source", { name: "resumeSource", runState: "running" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
  });

  it("before the source handed off gives the right back where it then did", () => {
    const story = new Story().toStopped();
    story.says("destination", { t: "HandedBack", sentence: "The load failed." });
    assert.equal(
      story.answers("source", { name: "cancelTransfer", answer: "tooLate", handOff: handOffOf() }),
      "SWITCHING_OVER HANDING_BACK | resumeSource@source",
    );
    assert.equal(story.state.migration.fence.epoch, 2n);
  });

  it("ends with a lost guest where the source's VMM is gone too, under whichever epoch that is said", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.says("destination", { t: "HandedBack", sentence: "The load failed." });
    assert.equal(
      story.says("source", { t: "VmmLost", sentence: "QEMU ended." }, { epoch: 1n }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("is asked for again where the destination does not know its guest", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.status("destination", "failed");
    assert.equal(story.fails("destination", "handBack", "NOT_FOUND", "INSTANCE_UNKNOWN"), "|");
    assert.match(story.state.migration.reason, /runs the guest once hb says that it never started it/);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| handBack@destination");
  });

  it("asks a source in post-copy whether it can go on where the destination's VMM was lost before it ran", () => {
    const lost = () => {
      const story = new Story(POST_COPY).toTransferring();
      story.status("source", "postcopy-active");
      story.handsOff();
      assert.equal(
        story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }),
        "HANDING_BACK | handBack@destination",
      );
      story.answers("destination", { name: "handBack", answer: "handedBack" });
      return story;
    };
    const gone = lost();
    gone.fails("source", "resumeSource", "FAILED_PRECONDITION", NO_WAY_BACK);
    assert.equal(gone.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(gone.state.migration.outcome, Outcome.GUEST_LOST);
    const back = lost();
    back.answers("source", { name: "resumeSource", runState: "running" });
    assert.equal(back.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(back.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
  });

  it("goes forward where the destination started the guest", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.status("destination", "failed");
    assert.equal(story.phase, "HANDING_BACK");
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });
});
