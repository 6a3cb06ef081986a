import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { resolutionOf } from "../../coordinator/migration/asks.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { outstanding, POST_COPY, Story } from "./coordinator-story.ts";

const ENDED = { t: "VmmLost", sentence: "The VMM's process 12 has ended." } as const;

/** The destination has the word, and may be running the guest: its agent is cut off. */
function cutOff(): Story {
  const story = new Story().toStopped();
  story.handsOff();
  story.isReady();
  story.receivesHandOff();
  story.hear({ t: "HostUnreachable", side: "destination" });
  return story;
}

describe("a guest whose source is gone after its word", () => {
  it("is not lost while the destination may run it, whoever resumes the source", () => {
    const story = cutOff();
    story.says("source", ENDED);
    assert.equal(story.phase, "AMBIGUOUS");
    const ask = resolutionOf([], "resumeSource");
    assert.equal(ask.refusal(story.state)?.reason, "SOURCE_VMM_LOST");
    assert.match(ask.refusal(story.state)?.message ?? "", /ha .*hb/);
    for (const event of ask.events) story.hear(event);
    assert.equal(story.phase, "AMBIGUOUS");
    assert.equal(ask.isSo(story.state), false);
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });

  it("is not lost by that while its hand-back waits for the destination, and may be given up by a person", () => {
    const story = cutOff();
    story.hear({ t: "Resolved", resolution: "resumeSource" });
    assert.equal(story.says("source", ENDED), "|");
    assert.equal(story.phase, "HANDING_BACK");
    assert.match(story.state.migration.reason, /The guest is lost unless hb says that it has it\.$/);
    assert.ok(outstanding(story).includes("handBack@destination"));
    assert.equal(resolutionOf([], "guestLost").refusal(story.state), null);
    assert.equal(story.hear({ t: "Resolved", resolution: "guestLost" }), "FAILED |");
  });

  it("is lost with the destination's word, once that has let its devices go", () => {
    const story = cutOff();
    story.hear({ t: "Resolved", resolution: "resumeSource" });
    story.says("source", ENDED);
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "handedBack" }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("is lost with the destination's host", () => {
    const story = cutOff();
    story.hear({ t: "Resolved", resolution: "resumeSource" });
    story.says("source", ENDED);
    assert.equal(story.hear({ t: "HostDeclaredDead", side: "destination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("is lost where the destination's VMM is gone as well", () => {
    const story = cutOff();
    story.says("source", ENDED);
    assert.equal(story.says("destination", ENDED), "HANDING_BACK FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("waits for a person where the destination does not know it any more", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    story.awaitsHandOff();
    story.says("source", ENDED);
    assert.equal(
      story.fails("destination", "deliverHandOff", "NOT_FOUND", "GUEST_UNKNOWN"),
      "HANDING_BACK | handBack@destination",
    );
    assert.equal(story.fails("destination", "handBack", "NOT_FOUND", "INSTANCE_UNKNOWN"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| handBack@destination");
  });

  it("is not lost with a host that is declared dead before its word was heard", () => {
    const story = new Story().toStopped();
    story.hear({ t: "HostUnreachable", side: "destination" });
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "source" }),
      "AMBIGUOUS | deliverHandOff@destination",
    );
    assert.equal(story.fails("destination", "deliverHandOff", "UNAVAILABLE"), "|");
    assert.equal(story.startsCpus(), "COMPLETING |");
  });
});

describe("a guest in post-copy mode whose source is declared dead", () => {
  it("is asked back from a destination that is not known to have loaded it: its VMM may answer nobody", () => {
    const story = new Story(POST_COPY).toTransferring();
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "source" }),
      "ROLLING_BACK | handBack@destination",
    );
  });
});

describe("a guest in post-copy whose source is gone after its word", () => {
  const given = () => {
    const story = new Story(POST_COPY).toTransferring();
    story.answers("source", { name: "switchToPostCopy" });
    story.status("source", "postcopy-active");
    story.status("destination", "postcopy-active");
    story.handsOff();
    return story;
  };

  it("is not lost where it had left the source whole, and the destination is cut off", () => {
    const story = given();
    story.hear({ t: "HostUnreachable", side: "destination" });
    story.status("source", "completed");
    story.says("source", ENDED);
    assert.equal(story.phase, "AMBIGUOUS");
    story.hear({ t: "Resolved", resolution: "resumeSource" });
    assert.equal(story.phase, "AMBIGUOUS");
    assert.equal(story.startsCpus(), "POST_COPY |");
    assert.equal(story.status("destination", "completed"), "COMPLETING | releaseSource@source");
  });

  it("is lost by itself once the destination says that it is cut off from its source", () => {
    const story = given();
    assert.equal(story.says("source", ENDED), "|");
    assert.equal(story.status("destination", "postcopy-paused"), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("is not lost where the destination's last words were only late", () => {
    for (const lost of [ENDED, null]) {
      const story = given();
      story.startsCpus();
      story.hear({ t: "HostUnreachable", side: "destination" });
      if (lost === null) story.hear({ t: "HostDeclaredDead", side: "source" });
      else story.says("source", lost);
      story.announces();
      assert.equal(story.phase, "POST_COPY");
      assert.match(story.status("destination", "completed"), /^COMPLETING /);
    }
  });

  it("is asked after where its source's host is dead, for no stream breaks there", () => {
    const story = given();
    story.startsCpus();
    assert.equal(story.hear({ t: "HostDeclaredDead", side: "source" }), "| deliverHandOff@destination");
    const takenOver = { runState: "running", transferStatus: "postcopy-active", vmmLost: false };
    assert.equal(story.answers("destination", { name: "deliverHandOff", takenOver }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    const whole = given();
    whole.startsCpus();
    whole.hear({ t: "HostDeclaredDead", side: "source" });
    const complete = { ...takenOver, transferStatus: "completed" };
    assert.equal(
      whole.answers("destination", { name: "deliverHandOff", takenOver: complete }),
      "COMPLETING |",
    );
  });

  it("is complete by its source's word where the destination can say nothing of it any more", () => {
    const story = given();
    story.startsCpus();
    story.says("destination", { t: "EventsForgotten" }, { instanceId: "" });
    story.fails("destination", "deliverHandOff", "NOT_FOUND", "INSTANCE_UNKNOWN");
    assert.equal(resolutionOf([], "guestLost").refusal(story.state), null);
    assert.equal(story.status("source", "completed"), "COMPLETING | releaseSource@source");
  });

  it("is not torn apart for sure while the destination, which may have all of it, is cut off", () => {
    for (const starts of [false, true]) {
      const story = given();
      if (starts) story.startsCpus();
      story.hear({ t: "HostUnreachable", side: "destination" });
      story.hear({ t: "HostUnreachable", side: "source" });
      story.hear({ t: "HostDeclaredDead", side: "source" });
      assert.equal(story.phase, starts ? "POST_COPY" : "AMBIGUOUS");
      assert.equal(resolutionOf([], "guestLost").refusal(story.state), null);
      assert.equal(story.hear({ t: "HostDeclaredDead", side: "destination" }), "FAILED |");
      assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    }
  });
});

describe("a guest in post-copy whose source forgot it before its word", () => {
  /** The destination handed back, and the source does not know the guest. */
  function forgottenAndHandedBack(runState: string): { readonly story: Story; readonly followed: string } {
    const story = new Story(POST_COPY).toTransferring(runState);
    story.answers("source", { name: "switchToPostCopy" });
    story.status("destination", "postcopy-active");
    story.awaitsHandOff();
    story.hear({ t: "DeadlinePassed", deadline: "handOff" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "GUEST_UNKNOWN");
    const followed = story.answers("destination", { name: "handBack", answer: "handedBack" });
    return { story, followed };
  }

  it("is waited for also where its owner had stopped it: its memory is in two places all the same", () => {
    assert.equal(forgottenAndHandedBack("paused").followed, "| resumeSource@source");
  });

  it("is asked for its word as soon as it answers again, where it had become silent after the hand-back", () => {
    const { story } = forgottenAndHandedBack("running");
    story.fails("source", "resumeSource", "NOT_FOUND", "GUEST_UNKNOWN");
    story.hear({ t: "DeadlinePassed", deadline: "askAgain" });
    assert.equal(story.fails("source", "cancelTransfer", "UNAVAILABLE"), "AMBIGUOUS | getHandOff@source");
    story.fails("source", "getHandOff", "UNAVAILABLE");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| getHandOff@source");
  });

  it("is started at the destination after all where the source cannot take it back, under an epoch of its own", () => {
    const { story } = forgottenAndHandedBack("running");
    const { epoch } = story.state.migration.fence;
    assert.equal(
      story.fails("source", "resumeSource", "FAILED_PRECONDITION", "NO_WAY_BACK"),
      "SWITCHING_OVER | deliverHandOff@destination",
    );
    assert.equal(story.state.handOff?.fence?.epoch, epoch + 1n);
    assert.equal(story.state.handOff?.runState, "running");
    assert.match(story.startsCpus(), /POST_COPY/);
  });

  it("keeps its destination's VMM until the source has it back, or a person says that it is lost", () => {
    const { followed, story } = forgottenAndHandedBack("running");
    assert.equal(followed, "| resumeSource@source");
    assert.equal(story.fails("source", "resumeSource", "NOT_FOUND", "GUEST_UNKNOWN"), "|");
    assert.equal(resolutionOf([], "guestLost").refusal(story.state), null);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
    assert.equal(
      story.fails("source", "cancelTransfer", "NOT_FOUND", "GUEST_UNKNOWN"),
      "| resumeSource@source",
    );
    assert.equal(
      story.answers("source", { name: "resumeSource", runState: "running" }),
      "| abortDestination@destination",
    );
  });
});

describe("a guest whose source forgot it while the destination, cut off, runs it", () => {
  for (const order of ["first", "last"] as const) {
    it(`is nobody's before the destination's word, where the source is asked ${order}`, () => {
      const story = new Story().toStopped();
      story.hear({ t: "HostUnreachable", side: "destination" });
      story.hear({ t: "CancelAsked" });
      story.fails("source", "cancelTransfer", "NOT_FOUND", "GUEST_UNKNOWN");
      if (order === "first") story.fails("source", "resumeSource", "NOT_FOUND");
      story.fails("destination", "abortDestination", "UNAVAILABLE");
      if (order === "last") story.fails("source", "resumeSource", "NOT_FOUND");
      story.fails("destination", "handBack", "UNAVAILABLE", "GRPC_UNAVAILABLE");
      assert.equal(story.phase, "CANCELLING");
      assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
      assert.equal(
        story.fails("source", "cancelTransfer", "NOT_FOUND", "GUEST_UNKNOWN"),
        "| handBack@destination",
      );
      assert.equal(story.startsCpus(), "SWITCHING_OVER COMPLETING | releaseSource@source");
    });
  }
});
