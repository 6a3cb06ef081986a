import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evolve } from "../../agent/guest/evolve.ts";
import { armedGuest, FENCE, last, play, residentGuest } from "./guest-gate.ts";

const STOP = { kind: "cpusStopped", stoppedAtUnixUs: 990 } as const;
const RESUME = { kind: "cpusResumed", resumedAtUnixUs: 990 } as const;
const DEREGISTERED = { kind: "nicsDeregistered" } as const;
const REGISTERED = { kind: "nicsRegistered", sentAtUnixUs: 1 } as const;
const SWITCHED = { kind: "runStateRead", purpose: "stopCause", runState: "finish-migrate" } as const;
const BEGIN = { kind: "transferOrdered", fence: FENCE } as const;
const KEEP = { kind: "keepOrdered", fence: FENCE } as const;
const GONE = { kind: "vmmLost", sentence: "gone" } as const;
const status = (name: string) => ({ kind: "transferStatusChanged", status: name }) as const;
const told = (name: string) => ({ kind: "transferStatusRead", purpose: "keep", status: name }) as const;

describe("a source that is asked to keep its guest", () => {
  it("keeps it at once where nothing was begun", () => {
    const answers = play(armedGuest("live", "completed"), KEEP);
    assert.deepEqual(last(answers).done, ["journal kept"]);
    assert.deepEqual(last(answers).told, ["kept"]);
    assert.equal(last(answers).guest.role.kind, "resident");
  });

  it("has nothing to do any more with what its owner does then, where nothing was begun", () => {
    const answers = play(armedGuest("live", "completed"), KEEP, STOP, DEREGISTERED, RESUME);
    assert.ok(!last(answers).told.includes("sourceResumed"));
    assert.equal(last(answers).guest.migration, null);
  });

  it("cancels the transfer and asks what came of it, in the same breath", () => {
    const answers = play(armedGuest("live", "completed"), BEGIN, status("active"), KEEP);
    assert.deepEqual(last(answers).done, ["cancelTransfer", "read keep"]);
    assert.equal(last(answers).guest.role.kind, "outgoing");
  });

  for (const [name, event] of [
    ["QEMU's event", status("cancelled")],
    ["QEMU's answer", told("cancelled")],
    ["an answer that the transfer never began", told("none")],
  ] as const) {
    it(`keeps it once that is QEMU's last word: ${name}`, () => {
      const answers = play(armedGuest("live", "completed"), BEGIN, status("active"), KEEP, event);
      assert.deepEqual(last(answers).done, ["journal kept"]);
    });
  }

  it("asks again while the transfer is not over", () => {
    const answers = play(armedGuest("live", "completed"), BEGIN, status("active"), KEEP, told("cancelling"), {
      kind: "timerFired",
      timer: "readKeepAgain",
    });
    assert.deepEqual(answers[3]?.done, ["timer readKeepAgain 100"]);
    assert.deepEqual(last(answers).done, ["read keep"]);
  });

  it("leaves a switchover that has stopped the CPUs a second to end, and cancels it then", () => {
    const STOPPED = [BEGIN, status("active"), STOP, DEREGISTERED, SWITCHED] as const;
    const soon = play(armedGuest("live", "completed"), ...STOPPED, KEEP, told("active"));
    assert.deepEqual(soon[5]?.done, ["read keep"]);
    assert.deepEqual(last(soon).done, ["timer readKeepAgain 10"]);
    assert.deepEqual(last(play(last(soon).guest, status("failed"))).told.at(-1), "kept");
    const later = evolve(last(soon).guest, { ...told("active"), atUnixUs: 1_002_000 });
    assert.deepEqual(
      later.operations.map(({ kind }) => kind),
      ["cancelTransfer", "readTransferStatus"],
    );
  });

  it("gives its word all the same where QEMU completes first: it is too late", () => {
    const answers = play(
      armedGuest("live", "completed"),
      BEGIN,
      STOP,
      DEREGISTERED,
      SWITCHED,
      KEEP,
      status("completed"),
      told("completed"),
    );
    assert.deepEqual(answers[5]?.done, ["journal handedOff", "publishHandOff"]);
    assert.equal(last(answers).guest.role.kind, "relinquished");
  });

  it("keeps a running guest whose QEMU still tells of an earlier transfer", () => {
    const answers = play(armedGuest("live", "completed"), BEGIN, KEEP, told("completed"));
    assert.deepEqual(last(answers).done, ["journal kept"]);
  });

  it("keeps a guest that stands, too, where QEMU refused the transfer and tells of an earlier one", () => {
    const answers = play(armedGuest("live", "completed", "paused"), BEGIN, KEEP, told("completed"));
    assert.deepEqual(last(answers).done, ["journal kept"]);
  });

  it("never sends migrate_cancel once post-copy was asked for: it only breaks the connection", () => {
    const asked = { kind: "postCopyOrdered", fence: FENCE } as const;
    const answers = play(armedGuest("postCopy", "postcopyActiveTwice"), BEGIN, status("active"), asked, KEEP);
    assert.deepEqual(answers[2]?.done, ["journal postCopyAsked"]);
    assert.deepEqual(last(answers).done, ["breakTransfer", "read keep"]);
  });

  it("does nothing to a transfer that is in post-copy: QEMU decides alone", () => {
    const answers = play(
      armedGuest("postCopy", "postcopyActiveTwice"),
      BEGIN,
      status("postcopy-active"),
      STOP,
      KEEP,
    );
    assert.deepEqual(last(answers).done, []);
  });

  it("keeps at once what its VMM refused to begin, whatever an older transfer had come to", () => {
    const refused = play(
      armedGuest("live", "completed"),
      BEGIN,
      { kind: "transferRefused", fence: FENCE },
      KEEP,
    );
    assert.deepEqual(refused[1]?.done, ["journal transferRefused"]);
    assert.deepEqual(last(refused).done, ["journal kept"]);
    const told = play(armedGuest("live", "completed"), BEGIN, status("active"), {
      kind: "transferRefused",
      fence: FENCE,
    });
    assert.deepEqual(last(told).done, []);
  });

  it("journals it also where it was never armed, so that a late order to arm is refused", () => {
    assert.deepEqual(last(play(residentGuest("running"), KEEP)).done, ["journal kept"]);
  });
});

describe("a transfer that ends without a switch", () => {
  const stopped = [BEGIN, STOP, DEREGISTERED, SWITCHED] as const;

  it("is journaled as kept, by itself, before and after STOP", () => {
    for (const before of [[BEGIN], stopped]) {
      const answers = play(armedGuest("live", "completed"), ...before, status("failed"));
      assert.ok(last(answers).done.includes("journal kept"));
      assert.deepEqual(
        last(answers).told.filter((name) => name === "kept"),
        ["kept"],
      );
    }
  });

  it("leaves a guest that QEMU does not resume unregistered until the destination is fenced", () => {
    const rollback = { kind: "runStateRead", purpose: "rollback", runState: "postmigrate" } as const;
    const answers = play(armedGuest("live", "completed"), ...stopped, status("failed"), REGISTERED, rollback);
    assert.deepEqual(last(answers).done, ["deregisterNics"]);
    const resumed = play(
      last(answers).guest,
      DEREGISTERED,
      { kind: "resumeOrdered", fence: FENCE },
      REGISTERED,
    );
    assert.deepEqual(resumed[1]?.done, ["registerNics"]);
    assert.deepEqual(last(resumed).done, ["sendCont"]);
  });

  it("waits for QEMU between its failure and its resumption", () => {
    const rollback = { kind: "runStateRead", purpose: "rollback", runState: "finish-migrate" } as const;
    const answers = play(armedGuest("live", "completed"), ...stopped, status("failed"), REGISTERED, rollback);
    assert.deepEqual(last(answers).done, ["timer readRollbackAgain 5"]);
  });

  it("is not started by the coordinator where its owner stopped it meanwhile", () => {
    const answers = play(
      armedGuest("live", "completed"),
      ...stopped,
      status("cancelled"),
      { kind: "stopOrdered" },
      { kind: "resumeOrdered", fence: FENCE },
    );
    assert.deepEqual(answers[5]?.done, ["journalWhenPossible runStateNoted"]);
    assert.deepEqual(last(answers).done, []);
  });

  it("is its owner's stop where QEMU says so after the transfer has ended", () => {
    const answers = play(
      armedGuest("live", "completed"),
      BEGIN,
      STOP,
      DEREGISTERED,
      status("failed"),
      { kind: "runStateRead", purpose: "stopCause", runState: "paused" },
      { kind: "resumeOrdered", fence: FENCE },
    );
    assert.deepEqual(answers[4]?.done, ["journalWhenPossible runStateNoted"]);
    assert.deepEqual(last(answers).done, []);
  });

  it("is started again and again while something refuses, for the owner has it running", () => {
    const refused = { kind: "contRefused", outcome: "refused", sentence: "image locked" } as const;
    const answers = play(
      armedGuest("live", "completed"),
      ...stopped,
      status("cancelled"),
      { kind: "resumeOrdered", fence: FENCE },
      REGISTERED,
      refused,
      { kind: "timerFired", timer: "startAgain" },
    );
    assert.deepEqual(answers[7]?.done, ["deregisterNics", "timer startAgain 500"]);
    assert.deepEqual(last(answers).done, ["registerNics"]);
  });
});

describe("a source whose VMM dies", () => {
  it("hands off after a live STOP: a dead process cannot resume, and the destination may have it all", () => {
    const answers = play(armedGuest("live", "completed"), BEGIN, STOP, DEREGISTERED, GONE);
    assert.deepEqual(last(answers).done, ["journal handedOff", "publishHandOff"]);
  });

  it("never hands off a guest that ran, or one in post-copy before its point of no return", () => {
    const live = play(armedGuest("live", "completed"), BEGIN, GONE);
    const postCopy = play(armedGuest("postCopy", "postcopyActiveTwice"), BEGIN, STOP, DEREGISTERED, GONE);
    for (const answers of [live, postCopy]) assert.ok(last(answers).done.includes("journal kept"));
  });
});

describe("a source that handed off, and is given the guest back", () => {
  const given = last(
    play(armedGuest("live", "completed"), BEGIN, STOP, DEREGISTERED, SWITCHED, status("completed")),
  ).guest;
  const RETAKE = { kind: "retakeOrdered", fence: { epoch: 8n, revision: 9n } } as const;

  it("journals that it has the right again, registers, and only then starts the CPUs", () => {
    const answers = play(given, RETAKE, REGISTERED, { kind: "contSent" }, RESUME);
    assert.deepEqual(answers[0].done, ["journal retaken", "registerNics"]);
    assert.deepEqual(answers[1]?.done, ["sendCont"]);
    assert.deepEqual(last(answers).done, ["journalWhenPossible started", "announce"]);
    assert.ok(last(answers).told.includes("sourceResumed"));
    assert.equal(last(answers).guest.fence.epoch, 8n);
  });

  it("journals that it does not take it, and stays without the right", () => {
    const answers = play(given, { kind: "declineOrdered", fence: RETAKE.fence }, RESUME);
    assert.deepEqual(answers[0].done, ["journal declined"]);
    assert.ok(last(answers).done.includes("sendStop"));
  });

  it("leaves a guest stopped that its owner had stopped", () => {
    const paused = last(play(armedGuest("live", "completed", "paused"), BEGIN, status("completed"))).guest;
    assert.deepEqual(last(play(paused, RETAKE)).done, ["journal retaken"]);
  });

  it("tells that once: who starts it again then is its owner, and no migration", () => {
    const paused = last(
      play(armedGuest("postCopy", "completed", "paused"), BEGIN, status("completed")),
    ).guest;
    const answers = play(paused, RETAKE, { kind: "startOrdered" }, REGISTERED, { kind: "contSent" }, RESUME);
    assert.ok(answers[0].told.includes("sourceResumed"));
    assert.ok(!last(answers).told.includes("sourceResumed"));
    const broken = play(
      paused,
      RETAKE,
      status("postcopy-paused"),
      { kind: "startOrdered" },
      REGISTERED,
      RESUME,
    );
    assert.ok(!last(broken).told.includes("sourceResumed"));
  });
});
