import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { handOffOf, inPostCopy, outstanding, POST_COPY, Story } from "./coordinator-story.ts";

describe("preparing", () => {
  it("fails with all refusals told and nothing changed", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    const refusal = { reason: "BRIDGE_MISSING", sentence: "There is no br0.", field: "nics[0]" };
    const instance = { instanceId: "b1", runState: "inmigrate", epoch: 0n, nics: [] };
    assert.equal(story.answers("destination", { name: "preflight", refusals: [refusal], instance }), "|");
    assert.equal(story.passes("source", "paused"), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_SOURCE);
    assert.equal(story.state.migration.reasonCode, "BRIDGE_MISSING");
    assert.match(story.state.migration.reason, /There is no br0/);
  });

  it("is refused where the hosts have other NICs, whichever answers first, with nothing changed", () => {
    const [net0, net1] = [
      { nicId: "net0", macAddress: "52:54:00:00:00:01" },
      { nicId: "net1", macAddress: "52:54:00:00:00:02" },
    ];
    for (const sides of [
      ["source", "destination"],
      ["destination", "source"],
    ] as const) {
      const story = new Story();
      story.hear({ t: "Admitted" });
      const nicsOf = {
        source: [net0, net1],
        destination: [{ ...net1, macAddress: "52:54:00:00:00:03" }, net0],
      };
      assert.equal(story.passes(sides[0], undefined, 0n, nicsOf[sides[0]]), "|");
      assert.equal(story.passes(sides[1], undefined, 0n, nicsOf[sides[1]]), "FAILED |");
      assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
      assert.equal(story.state.migration.reasonCode, "NIC_SETS_DIFFER");
      assert.match(
        story.state.migration.reason,
        /Only the source has net1 \(.*:02\)\. Only the destination has net1 \(.*:03\)\./,
      );
    }
  });

  it("goes on with the same NICs in another order, and keeps none of them in its record", () => {
    const nics = ["net0", "net1"].map((nicId, index) => ({ nicId, macAddress: `52:54:00:00:00:0${index}` }));
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source", "running", 0n, nics);
    assert.deepEqual(story.state.source.nics, { nics });
    assert.equal(
      story.passes("destination", "inmigrate", 0n, nics.toReversed()),
      "| compareClocks@source prepareDestination@destination",
    );
    assert.deepEqual([story.state.source.nics, story.state.destination.nics], [undefined, undefined]);
  });

  it("raises its epoch above those that the agents have seen, and drives each preflight once", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    assert.equal(story.passes("source", "running", 41n), "|");
    assert.equal(
      story.passes("destination", "inmigrate", 17n),
      "| compareClocks@source prepareDestination@destination",
    );
    assert.equal(story.state.migration.fence.epoch, 42n);
    assert.equal(story.last?.commands.at(-1)?.epoch, 42n);
  });

  it("never shares an epoch with what an agent has seen", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source", "running", 1n);
    assert.equal(story.state.migration.fence.epoch, 2n);
  });

  it("is not disturbed by an answer that nobody waits for", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    const before = story.state;
    story.fails("destination", "prepareDestination", "UNAVAILABLE");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.9:1" });
    assert.equal(story.state, before);
  });

  it("rolls back what the destination may have prepared", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    assert.equal(
      story.fails("destination", "prepareDestination", "FAILED_PRECONDITION", "NOT_INMIGRATE"),
      "ROLLING_BACK | abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(story.state.migration.reasonCode, "NOT_INMIGRATE");
  });

  it("asks a source that may be armed before the destination is aborted", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    assert.equal(story.fails("source", "armSource", "UNAVAILABLE"), "ROLLING_BACK | cancelTransfer@source");
    assert.equal(
      story.answers("source", {
        name: "cancelTransfer",
        answer: "kept",
        runState: "running",
        cpuState: CpuState.RUNNING,
      }),
      "| abortDestination@destination",
    );
    assert.equal(
      story.fails("destination", "abortDestination", "UNIMPLEMENTED", "COMMAND_NOT_DRIVEN"),
      "FAILED |",
    );
    assert.equal(story.state.migration.reasonCode, "BROKEN");
    assert.match(story.state.migration.reason, /abortDestination failed/);
  });
});

describe("a transfer that fails", () => {
  it("leaves the guest where it runs, and the destination aborted", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.status("source", "failed", "Connection reset by peer"),
      "ROLLING_BACK | abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(story.state.migration.reason, "Connection reset by peer");
  });

  it("has the source resumed once the destination is aborted, where the switchover had stopped it", () => {
    const story = new Story().toStopped();
    assert.equal(story.status("source", "failed"), "ROLLING_BACK | abortDestination@destination");
    assert.equal(story.answers("destination", { name: "abortDestination" }), "| resumeSource@source");
    assert.equal(story.answers("source", { name: "resumeSource", runState: "running" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
  });

  it("does not resume a source that resumed by itself", () => {
    const story = new Story().toStopped();
    story.status("source", "failed");
    story.says("source", { t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 9n });
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
  });

  it("tells that a guest stays paused where its source refuses to resume", () => {
    const story = new Story().toStopped();
    story.status("source", "failed");
    story.answers("destination", { name: "abortDestination" });
    assert.equal(story.fails("source", "resumeSource", "UNIMPLEMENTED", "COMMAND_NOT_DRIVEN"), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_SOURCE);
  });

  it("goes forward where the source turns out to have handed off", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }),
      "ROLLING_BACK | cancelTransfer@source",
    );
    assert.equal(
      story.answers("source", { name: "cancelTransfer", answer: "tooLate", handOff: handOffOf() }),
      "SWITCHING_OVER HANDING_BACK | handBack@destination",
    );
  });

  it("is cancelled where it stalls before the stop", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.says("source", { t: "TransferStalled", stalledForMs: 5_000 }),
      "ROLLING_BACK | cancelTransfer@source",
    );
    assert.equal(story.state.migration.reasonCode, "TRANSFER_STALLED");
  });

  it("loses the guest whose VMM was gone before it could be armed", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    assert.equal(
      story.fails("source", "armSource", "FAILED_PRECONDITION", "VMM_LOST"),
      "ROLLING_BACK | cancelTransfer@source",
    );
    story.fails("source", "cancelTransfer", "FAILED_PRECONDITION", "NOT_ARMED");
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("loses the guest with the source's VMM", () => {
    const story = new Story().toTransferring();
    story.says("source", { t: "VmmLost", sentence: "QEMU ended." });
    story.answers("source", {
      name: "cancelTransfer",
      answer: "kept",
      runState: "",
      cpuState: CpuState.STOPPED,
    });
    assert.equal(story.answers("destination", { name: "abortDestination" }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });
});

describe("cancelling", () => {
  it("needs nothing before the first command, or while only preflight runs", () => {
    assert.equal(new Story().hear({ t: "CancelAsked" }), "CANCELLING CANCELLED |");
    const preparing = new Story();
    preparing.hear({ t: "Admitted" });
    assert.equal(preparing.hear({ t: "CancelAsked" }), "CANCELLING CANCELLED |");
    assert.equal(preparing.state.migration.outcome, Outcome.RUNS_ON_SOURCE);
  });

  it("asks the source first, and aborts the destination only after `kept`", () => {
    const story = new Story().toTransferring();
    assert.equal(story.hear({ t: "CancelAsked" }), "CANCELLING | cancelTransfer@source");
    assert.equal(
      story.answers("source", {
        name: "cancelTransfer",
        answer: "kept",
        runState: "running",
        cpuState: CpuState.RUNNING,
      }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "CANCELLED |");
    assert.equal(story.state.migration.reasonCode, "CANCELLED");
  });

  it("goes forward where it is too late", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(
      story.answers("source", { name: "cancelTransfer", answer: "tooLate", handOff: undefined }),
      "SWITCHING_OVER |",
    );
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });

  it("takes the source's hand-off for `too late`", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(story.handsOff(), "SWITCHING_OVER |");
  });

  it("is possible after the stop, and never after a hand-off or in post-copy", () => {
    assert.equal(new Story().toStopped().hear({ t: "CancelAsked" }), "CANCELLING | cancelTransfer@source");
    const handedOff = new Story().toStopped();
    handedOff.handsOff();
    assert.equal(handedOff.hear({ t: "CancelAsked" }), "|");
    assert.equal(inPostCopy().hear({ t: "CancelAsked" }), "|");
  });

  it("waits for a source that cannot cancel yet, says so, and does not spin", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(story.fails("source", "cancelTransfer", "UNIMPLEMENTED", "COMMAND_NOT_DRIVEN"), "|");
    assert.equal(story.phase, "CANCELLING");
    assert.equal(story.state.migration.reasonCode, "COMMAND_NOT_DRIVEN");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "|");
  });

  it("is ambiguous where the destination waits for the word of a source that does not answer", () => {
    const story = new Story().toStopped();
    story.hear({ t: "CancelAsked" });
    story.awaitsHandOff();
    assert.equal(story.fails("source", "cancelTransfer", "UNAVAILABLE"), "AMBIGUOUS | getHandOff@source");
  });

  it("goes forward where the destination has started the guest, whatever the source says", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    const kept = { answer: "kept", runState: "running", cpuState: CpuState.STOPPED } as const;
    story.answers("source", { name: "cancelTransfer", ...kept });
    assert.equal(
      story.fails("destination", "abortDestination", "FAILED_PRECONDITION", "CONT_SENT"),
      "SWITCHING_OVER COMPLETING | releaseSource@source",
    );
    assert.equal(story.state.kept, false);
  });

  for (const [fact, code, reason] of [
    ["its VMM has not said its last", "DEADLINE_EXCEEDED", "STILL_WAITING"],
    ["its disk is full", "UNAVAILABLE", "JOURNAL_UNWRITABLE"],
  ] as const) {
    it(`is no ambiguity where the source is there and ${fact}`, () => {
      const story = new Story().toStopped();
      story.hear({ t: "CancelAsked" });
      story.awaitsHandOff();
      assert.equal(story.fails("source", "cancelTransfer", code, reason), "|");
      assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
    });
  }

  it("ends by the destination's word where the source's agent knows nothing of its guest any more", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(
      story.fails("source", "cancelTransfer", "NOT_FOUND", "INSTANCE_UNKNOWN"),
      "| handBack@destination",
    );
    assert.equal(story.fails("destination", "handBack", "UNAVAILABLE"), "|");
    story.hear({ t: "DeadlinePassed", deadline: "askAgain" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "INSTANCE_UNKNOWN");
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "handedBack" }),
      "| abortDestination@destination",
    );
    assert.equal(story.answers("destination", { name: "abortDestination" }), "| resumeSource@source");
    assert.equal(story.fails("source", "resumeSource", "NOT_FOUND", "INSTANCE_UNKNOWN"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
    assert.equal(
      story.fails("source", "cancelTransfer", "NOT_FOUND", "WORD_FORGOTTEN"),
      "| resumeSource@source",
    );
    assert.equal(story.answers("source", { name: "resumeSource", runState: "running" }), "CANCELLED |");
  });

  it("gives such a source a guest back that its owner had stopped, and says how he had it", () => {
    const story = new Story().toTransferring("paused");
    story.hear({ t: "CancelAsked" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "WORD_FORGOTTEN");
    story.answers("destination", { name: "handBack", answer: "handedBack" });
    story.answers("destination", { name: "abortDestination" });
    assert.deepEqual(
      story.last?.commands.map((command) => command.name === "resumeSource" && command.runState),
      ["paused"],
    );
    assert.equal(story.answers("source", { name: "resumeSource", runState: "postmigrate" }), "CANCELLED |");
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_SOURCE);
  });

  it("gives a post-copy guest back to such a source before its destination ends, whether or not it was seen to switch", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.hear({ t: "CancelAsked" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "WORD_FORGOTTEN");
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "handedBack" }),
      "| resumeSource@source",
    );
    assert.equal(
      story.answers("source", { name: "resumeSource", runState: "running" }),
      "| abortDestination@destination",
    );
  });

  it("goes forward where such a source had given its guest to a destination that may have started it", () => {
    const story = new Story().toStopped();
    story.hear({ t: "CancelAsked" });
    story.fails("source", "cancelTransfer", "NOT_FOUND", "INSTANCE_UNKNOWN");
    assert.equal(
      story.answers("destination", { name: "handBack", answer: "tooLate", vmmLost: false }),
      "SWITCHING_OVER COMPLETING | releaseSource@source",
    );
  });

  it("waits for a person where the one has forgotten and the other, whose VMM is gone, cannot exclude it", () => {
    for (const isHeardBefore of [true, false]) {
      const story = new Story().toStopped();
      if (isHeardBefore) story.says("destination", { t: "VmmLost", sentence: "Its host crashed." });
      else story.hear({ t: "CancelAsked" });
      story.fails("source", "cancelTransfer", "NOT_FOUND", "INSTANCE_UNKNOWN");
      const answer = { name: "handBack", answer: "tooLate", vmmLost: !isHeardBefore } as const;
      assert.equal(story.answers("destination", answer), "|");
      assert.notEqual(story.phase, "FAILED");
      assert.equal(story.state.migration.reasonCode, "MAY_HAVE_STARTED");
      assert.equal(story.hear({ t: "HostDeclaredDead", side: "destination" }), "| resumeSource@source");
    }
  });

  it("does not keep a stopped guest waiting for a destination that cannot be reached", () => {
    const story = new Story().toStopped();
    story.hear({ t: "HostUnreachable", side: "destination" });
    story.status("source", "failed", "Connection reset by peer");
    assert.equal(story.phase, "ROLLING_BACK");
    assert.deepEqual(outstanding(story), ["abortDestination@destination", "resumeSource@source"]);
  });

  it("asks a source again that did not answer", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(story.fails("source", "cancelTransfer", "UNAVAILABLE"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
  });
});
