import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InstantKind, MigrationMode, Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import { inPostCopy, outstanding, POST_COPY, progressOf, Story, specOf } from "./coordinator-story.ts";

describe("a live migration", () => {
  it("goes from its admission to its end by these steps", () => {
    const story = new Story();
    const steps: (readonly [string, string])[] = [
      [story.hear({ t: "Admitted" }), "PREPARING | preflight@source preflight@destination"],
      [story.passes("destination"), "|"],
      [story.passes("source"), "| compareClocks@source prepareDestination@destination"],
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

  it("begins the transfer all the same where the guest's owner stopped it first", () => {
    const story = new Story();
    story.hear({ t: "Admitted" });
    story.passes("source");
    story.passes("destination");
    story.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    story.answers("source", { name: "armSource", runState: "running" });
    story.says("source", { t: "CpusStopped", stoppedAtUnixUs: 10n, receivedAtUnixUs: 11n });
    assert.deepEqual(outstanding(story), ["beginTransfer@source", "compareClocks@source"]);
    assert.equal(story.answers("source", { name: "beginTransfer" }), "|");
    assert.deepEqual(outstanding(story), ["compareClocks@source"]);
  });

  it("collects one instant a kind and announcement, in order of time", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.isReady();
    story.receivesHandOff();
    story.startsCpus();
    story.announces(1);
    story.announces(2);
    story.announces(2);
    const kinds = story.state.migration.instants.map((instant) => instant.kind);
    assert.deepEqual(kinds, [
      InstantKind.STOPPED,
      InstantKind.STOP_RECEIVED,
      InstantKind.DEREGISTERED,
      InstantKind.HANDED_OFF,
      InstantKind.READY,
      InstantKind.HAND_OFF_RECEIVED,
      InstantKind.REGISTRATION_SENT,
      InstantKind.REGISTERED,
      InstantKind.CONT_SENT,
      InstantKind.RESUMED,
      InstantKind.ANNOUNCED,
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
    for (const at of [20n, 30n])
      story.says("destination", {
        t: "NicsRegistered",
        registeredAtUnixUs: at,
        registrationSentAtUnixUs: at,
      });
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
      [story.status("source", "postcopy-paused"), "POST_COPY_PAUSED |"],
      [story.hear({ t: "DeadlinePassed", deadline: "recover" }), "| recoverMigration@destination"],
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
    const stalled = { t: "TransferStalled", stalledForMs: 5_000 } as const;
    assert.equal(inPostCopy().says("source", stalled), "| pauseMigration@source");
  });

  it("loses the guest with the destination", () => {
    const story = inPostCopy();
    assert.equal(story.says("destination", { t: "VmmLost", sentence: "QEMU ended." }), "FAILED |");
    assert.equal(story.state.migration.outcome, Outcome.GUEST_LOST);
    assert.equal(story.state.migration.reason, "The guest is lost. QEMU ended.");
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
    assert.equal(torn.says("source", { t: "VmmLost", sentence: "QEMU ended." }), "|");
    assert.match(torn.status("destination", "postcopy-paused"), /FAILED \|$/);
    assert.equal(torn.state.migration.outcome, Outcome.GUEST_LOST);
    assert.notEqual(torn.state.migration.reason, "");
    const sent = inPostCopy();
    sent.status("source", "completed");
    assert.equal(sent.says("source", { t: "VmmLost", sentence: "QEMU ended." }), "|");
    assert.equal(sent.status("destination", "completed"), "COMPLETING | releaseSource@source");
  });
});
