import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NO_WAY_BACK } from "../../coordinator/migration/rollback.ts";
import { outstandingCommands } from "../../coordinator/migration/transition.ts";
import { InstantKind, MigrationMode, Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { handOffOf, progressOf, Story, specOf } from "./coordinator-story.ts";

const POST_COPY = specOf({ mode: MigrationMode.POST_COPY });

function outstanding(story: Story): string[] {
  return outstandingCommands(story.state).map((command) => `${command.name}@${command.side}`);
}

/** Post-copy, with the CPUs at the destination and pages still to come. */
function inPostCopy(): Story {
  const story = new Story(POST_COPY).toTransferring();
  story.answers("source", { name: "switchToPostCopy" });
  story.status("source", "postcopy-active");
  story.status("destination", "postcopy-active");
  story.handsOff();
  story.isReady();
  story.receivesHandOff();
  story.startsCpus();
  return story;
}

describe("a live migration", () => {
  it("goes from its admission to its end by these steps", () => {
    const story = new Story();
    const steps: (readonly [string, string])[] = [
      [story.hear({ t: "Admitted" }), "PREPARING | preflight@source preflight@destination"],
      [story.passes("destination"), "|"],
      [story.passes("source"), "| prepareDestination@destination"],
      [
        story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" }),
        "| armSource@source",
      ],
      [
        story.answers("source", { name: "armSource", runState: "running" }),
        "TRANSFERRING | beginTransfer@source",
      ],
      [story.answers("source", { name: "beginTransfer" }), "|"],
      [story.status("source", "active"), "|"],
      [story.says("source", { t: "TransferProgressed", progress: progressOf() }), "|"],
      [
        story.says("source", { t: "CpusStopped", stoppedAtUnixUs: 10n, receivedAtUnixUs: 11n }),
        "SWITCHING_OVER |",
      ],
      [story.says("source", { t: "NicsDeregistered", deregisteredAtUnixUs: 12n }), "|"],
      [story.handsOff(), "|"],
      [story.isReady(), "|"],
      [story.receivesHandOff(), "|"],
      [story.startsCpus(), "COMPLETING | releaseSource@source"],
      [story.answers("source", { name: "releaseSource" }), "|"],
      [story.announces(), "COMPLETED |"],
    ];
    for (const [was, expected] of steps) assert.equal(was, expected);
    assert.equal(story.state.migration.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(story.state.migration.reason, "");
    assert.deepEqual(outstanding(story), []);
  });

  it("takes the destination's words before the source's, and all steps at once", () => {
    const story = new Story().toTransferring();
    assert.equal(story.startsCpus(), "SWITCHING_OVER COMPLETING | releaseSource@source");
  });

  it("collects one instant a kind, in order of time", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    story.receivesHandOff();
    story.startsCpus();
    story.announces(1);
    story.announces(2);
    const kinds = story.state.migration.instants.map((instant) => instant.kind);
    assert.deepEqual(kinds, [
      InstantKind.STOPPED,
      InstantKind.STOP_RECEIVED,
      InstantKind.DEREGISTERED,
      InstantKind.HANDED_OFF,
      InstantKind.READY,
      InstantKind.HAND_OFF_RECEIVED,
      InstantKind.REGISTERED,
      InstantKind.CONT_SENT,
      InstantKind.RESUMED,
      InstantKind.ANNOUNCED,
    ]);
    const times = story.state.migration.instants.map((instant) => instant.atUnixUs);
    assert.deepEqual(times, [...times].sort());
  });

  it("counts the last stop before the hand-off as the switchover's", () => {
    const story = new Story().toTransferring();
    story.says("source", { t: "CpusStopped", stoppedAtUnixUs: 5n, receivedAtUnixUs: 6n });
    story.says("source", { t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 7n });
    story.says("source", { t: "CpusStopped", stoppedAtUnixUs: 8n, receivedAtUnixUs: 9n });
    const stopped = story.state.migration.instants.find((instant) => instant.kind === InstantKind.STOPPED);
    assert.equal(stopped?.atUnixUs, 8n);
  });

  it("keeps the first of what the destination says twice", () => {
    const story = new Story().toStopped();
    for (const at of [20n, 30n]) story.says("destination", { t: "NicsRegistered", registeredAtUnixUs: at });
    const { instants } = story.state.migration;
    const registered = instants.filter((instant) => instant.kind === InstantKind.REGISTERED);
    assert.deepEqual(
      registered.map((instant) => instant.atUnixUs),
      [20n],
    );
  });

  it("ends without the last words where they do not come", () => {
    const story = new Story().toTransferring();
    story.startsCpus();
    story.answers("source", { name: "releaseSource" });
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "words" }), "COMPLETED |");
  });

  it("completes, and says so, where the source cannot be released", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.startsCpus();
    story.announces();
    assert.equal(story.fails("source", "releaseSource", "UNAVAILABLE", "UNREACHABLE"), "COMPLETED |");
    assert.equal(story.state.migration.reasonCode, "UNREACHABLE");
  });

  it("leaves a guest paused that its owner had paused", () => {
    const story = new Story().toTransferring("paused");
    assert.equal(story.handsOff({ runState: "paused", stoppedAtUnixUs: 0n }), "SWITCHING_OVER |");
    assert.equal(
      story.says("destination", { t: "TakenOverPaused", runState: "paused" }),
      "COMPLETING | releaseSource@source",
    );
    assert.equal(story.answers("source", { name: "releaseSource" }), "COMPLETED |");
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_DESTINATION);
  });
});

describe("a post-copy migration", () => {
  it("goes from its transfer to its end by these steps", () => {
    const story = new Story(POST_COPY);
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    const steps: (readonly [string, string])[] = [
      [
        story.answers("source", { name: "armSource", runState: "running" }),
        "TRANSFERRING | beginTransfer@source",
      ],
      [story.status("source", "active"), "| switchToPostCopy@source"],
      [story.answers("source", { name: "switchToPostCopy" }), "|"],
      [story.status("source", "postcopy-active"), "SWITCHING_OVER |"],
      [story.handsOff(), "|"],
      [story.startsCpus(), "POST_COPY |"],
      [story.announces(), "|"],
      [story.status("source", "completed"), "|"],
      [story.status("destination", "completed"), "COMPLETING | releaseSource@source"],
      [story.answers("source", { name: "releaseSource" }), "COMPLETED |"],
    ];
    for (const [was, expected] of steps) assert.equal(was, expected);
  });

  it("passes through POST_COPY also where every page came before the CPUs", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("destination", "completed");
    assert.equal(story.startsCpus(), "SWITCHING_OVER POST_COPY COMPLETING | releaseSource@source");
  });

  it("switches after so many passes, where the policy says so", () => {
    const policy = { trigger: { $case: "afterPasses", value: 2 } } as const;
    const story = new Story(specOf({ mode: MigrationMode.POST_COPY, postCopy: policy })).toTransferring();
    assert.deepEqual(outstanding(story), []);
    story.says("source", { t: "TransferProgressed", progress: progressOf({ passes: 1 }) });
    assert.deepEqual(outstanding(story), []);
    assert.equal(
      story.says("source", { t: "TransferProgressed", progress: progressOf({ passes: 2 }) }),
      "| switchToPostCopy@source",
    );
  });

  it("switches after so long, or before that when asked", () => {
    const policy = { trigger: { $case: "afterMs", value: 500 } } as const;
    const spec = specOf({ mode: MigrationMode.POST_COPY, postCopy: policy });
    const timed = new Story(spec).toTransferring();
    assert.deepEqual(outstanding(timed), []);
    assert.equal(timed.hear({ t: "DeadlinePassed", deadline: "postCopy" }), "| switchToPostCopy@source");
    const asked = new Story(spec).toTransferring();
    assert.equal(asked.hear({ t: "PostCopyAsked" }), "| switchToPostCopy@source");
  });

  it("asks again for a switch that the VMM refused, and no sooner than after a while", () => {
    const story = new Story(POST_COPY).toTransferring();
    assert.equal(story.fails("source", "switchToPostCopy", "FAILED_PRECONDITION"), "|");
    assert.match(story.state.migration.reason, /switchToPostCopy/);
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| switchToPostCopy@source");
  });

  it("is never switched in live mode", () => {
    const story = new Story().toTransferring();
    assert.equal(story.hear({ t: "PostCopyAsked" }), "|");
  });

  it("pauses, recovers and completes by the VMMs' words", () => {
    const story = inPostCopy();
    const steps: (readonly [string, string])[] = [
      [story.status("source", "postcopy-paused"), "POST_COPY_PAUSED | recoverMigration@destination"],
      [story.status("destination", "postcopy-paused"), "|"],
      [
        story.answers("destination", { name: "recoverMigration", recoveryUri: "tcp:10.0.0.2:40124" }),
        "| recoverMigration@source",
      ],
      [story.answers("source", { name: "recoverMigration", recoveryUri: "" }), "|"],
      [story.status("source", "postcopy-recover"), "|"],
      [story.status("destination", "postcopy-recover"), "POST_COPY_RECOVERING |"],
      [story.status("source", "postcopy-active"), "|"],
      [story.status("destination", "postcopy-active"), "POST_COPY |"],
      [story.status("source", "postcopy-paused"), "POST_COPY_PAUSED | recoverMigration@destination"],
    ];
    for (const [was, expected] of steps) assert.equal(was, expected);
  });

  it("says that it cannot be recovered yet, and does not spin", () => {
    const story = inPostCopy();
    story.status("source", "postcopy-paused");
    assert.equal(story.fails("destination", "recoverMigration", "UNIMPLEMENTED", "COMMAND_NOT_DRIVEN"), "|");
    assert.equal(story.state.migration.reasonCode, "COMMAND_NOT_DRIVEN");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "|");
    assert.deepEqual(outstanding(story), []);
  });

  it("has a stalled transfer paused", () => {
    assert.equal(inPostCopy().hear({ t: "TransferStalled" }), "| pauseMigration@source");
  });

  it("loses the guest with the destination", () => {
    const story = inPostCopy();
    assert.equal(story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    assert.equal(story.state.migration.reason, "QEMU ended.");
  });

  it("needs no source any more once every page has come, also before the CPUs run", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.handsOff();
    story.status("destination", "completed");
    assert.equal(story.says("source", { t: "VmmLost", sentence: "QEMU ended." }), "|");
    assert.equal(story.startsCpus(), "POST_COPY COMPLETING | releaseSource@source");
  });

  it("loses the guest with the source while pages are there, and not once that has sent them all", () => {
    const torn = inPostCopy();
    assert.equal(torn.says("source", { t: "VmmLost", sentence: "QEMU ended." }), "FAILED |");
    assert.equal(torn.state.migration.outcome, Outcome.GUEST_LOST);
    assert.notEqual(torn.state.migration.reason, "");
    const sent = inPostCopy();
    sent.status("source", "completed");
    assert.equal(sent.says("source", { t: "VmmLost", sentence: "QEMU ended." }), "|");
    assert.equal(sent.status("destination", "completed"), "COMPLETING | releaseSource@source");
  });
});

describe("preparing", () => {
  it("fails with all refusals told and nothing changed", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    const refusal = { reason: "BRIDGE_MISSING", sentence: "There is no br0.", field: "nics[0]" };
    const instance = { instanceId: "b1", runState: "inmigrate", epoch: 0n };
    assert.equal(story.answers("destination", { name: "preflight", refusals: [refusal], instance }), "|");
    assert.equal(story.passes("source", "paused"), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_SOURCE);
    assert.equal(story.state.migration.reasonCode, "BRIDGE_MISSING");
    assert.match(story.state.migration.reason, /There is no br0/);
  });

  it("raises its epoch above those that the agents have seen, and drives each preflight once", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    assert.equal(story.passes("source", "running", 41n), "|");
    assert.equal(story.passes("destination", "inmigrate", 17n), "| prepareDestination@destination");
    assert.equal(story.state.migration.fence.epoch, 42n);
    assert.equal(story.last?.commands[0]?.epoch, 42n);
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
      story.answers("source", { name: "cancelTransfer", answer: "kept", runState: "running" }),
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
    assert.equal(story.hear({ t: "TransferStalled" }), "ROLLING_BACK | cancelTransfer@source");
    assert.equal(story.state.migration.reasonCode, "TRANSFER_STALLED");
  });

  it("loses the guest with the source's VMM", () => {
    const story = new Story().toTransferring();
    story.says("source", { t: "VmmLost", sentence: "QEMU ended." });
    story.answers("source", { name: "cancelTransfer", answer: "kept", runState: "" });
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
      story.answers("source", { name: "cancelTransfer", answer: "kept", runState: "running" }),
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

  it("asks a source again that did not answer", () => {
    const story = new Story().toTransferring();
    story.hear({ t: "CancelAsked" });
    assert.equal(story.fails("source", "cancelTransfer", "UNAVAILABLE"), "|");
    assert.equal(story.hear({ t: "DeadlinePassed", deadline: "askAgain" }), "| cancelTransfer@source");
  });
});

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
    assert.equal(story.hear({ t: "HostUnreachable", side: "destination" }), "AMBIGUOUS |");
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
      story.answers("destination", { name: "handBack", answer: "tooLate" }),
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
    assert.equal(story.state.migration.outcome, Outcome.PAUSED_ON_SOURCE);
  });

  it("loses the guest in post-copy with the destination's VMM", () => {
    const story = new Story(POST_COPY).toTransferring();
    story.status("source", "postcopy-active");
    story.handsOff();
    assert.equal(story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
  });

  it("goes forward where the destination started the guest", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.status("destination", "failed");
    assert.equal(story.phase, "HANDING_BACK");
    assert.equal(story.startsCpus(), "COMPLETING | releaseSource@source");
  });
});

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

  it("takes its guest with it where the destination has not", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.hear({ t: "HostDeclaredDead", side: "source" }),
      "ROLLING_BACK | abortDestination@destination",
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
    assert.equal(silent.hear({ t: "DeadlinePassed", deadline: "fence" }), "| fenceHost@source");
    assert.equal(silent.answers("source", { name: "fenceHost" }), "| deliverHandOff@destination");
    const speaking = ambiguous();
    speaking.says("source", { t: "AlarmRaised", reason: "X", sentence: "x" });
    assert.equal(speaking.hear({ t: "DeadlinePassed", deadline: "fence" }), "|");
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

  it("changes nothing where nothing is ambiguous", () => {
    const story = new Story().toTransferring();
    assert.equal(story.hear({ t: "Resolved", resolution: "guestLost" }), "|");
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

  it("that a VMM runs without our `cont` before the hand-off is no take-over", () => {
    const story = new Story().toTransferring();
    assert.equal(
      story.says("destination", { t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 5n }),
      "|",
    );
    assert.equal(story.phase, "TRANSFERRING");
  });
});
