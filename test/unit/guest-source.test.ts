import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { armedGuest, arming, FENCE, last, play, residentGuest } from "./guest-gate.ts";

const STOP = { kind: "cpusStopped", stoppedAtUnixUs: 990 } as const;
const DEREGISTERED = { kind: "nicsDeregistered" } as const;
const SWITCHED = { kind: "runStateRead", purpose: "stopCause", runState: "finish-migrate" } as const;
const COMPLETED = { kind: "transferStatusChanged", status: "completed" } as const;
const POSTCOPY_ACTIVE = { kind: "transferStatusChanged", status: "postcopy-active" } as const;
const CONFIRMED = {
  kind: "transferStatusRead",
  purpose: "pointOfNoReturn",
  status: "postcopy-active",
} as const;
const RESUME = { kind: "cpusResumed", resumedAtUnixUs: 990 } as const;
const WORD = ["journal handedOff", "publishHandOff"];

describe("the source's gate, live", () => {
  const armed = armedGuest("live", "completed");

  it("deregisters first thing at STOP, and only then asks why", () => {
    const [stop] = play(armed, STOP);
    assert.deepEqual(stop.done, ["deregisterNics", "read stopCause"]);
  });

  it("journals the word before it publishes it, once QEMU has completed", () => {
    const answers = play(armed, STOP, DEREGISTERED, SWITCHED, COMPLETED);
    assert.deepEqual(answers.map(({ done }) => done.filter((word) => word !== "deregisterNics")).slice(1), [
      [],
      [],
      WORD,
    ]);
    const { role } = last(answers).guest;
    assert.ok(role.kind === "relinquished");
    assert.equal(role.handOff.runState, "running");
    assert.deepEqual(role.handOff.fence, FENCE);
    assert.equal(role.handOff.stoppedAtUnixUs, 1000n);
    assert.equal(role.handOff.deregisteredAtUnixUs, 1001n);
  });

  for (const [name, events] of [
    ["the kernel's acknowledgement", [STOP, SWITCHED, COMPLETED, DEREGISTERED]],
    ["the reason of the stop", [STOP, DEREGISTERED, COMPLETED, SWITCHED]],
    ["completed", [STOP, SWITCHED, DEREGISTERED, COMPLETED]],
  ] as const) {
    it(`gives the word whichever comes last: ${name}`, () => {
      const answers = play(armed, ...events);
      for (const answer of answers.slice(0, -1)) assert.ok(!answer.done.includes("publishHandOff"));
      assert.deepEqual(last(answers).done, WORD);
    });
  }

  it("gives no word while a registration could not be removed, and tries again", () => {
    const answers = play(
      armed,
      STOP,
      { kind: "nicsDeregistrationRefused", sentence: "busy" },
      SWITCHED,
      COMPLETED,
    );
    assert.deepEqual(answers[1]?.done, ["timer retryDeregistration 10"]);
    assert.deepEqual(last(answers).done, []);
    const retried = play(
      last(answers).guest,
      { kind: "timerFired", timer: "retryDeregistration" },
      DEREGISTERED,
    );
    assert.deepEqual(retried[0].done, ["deregisterNics"]);
    assert.deepEqual(last(retried).done, WORD);
  });

  it("keeps a guest that somebody started again before the transfer was complete: what was sent is older", () => {
    const answers = play(armedGuest("live", "completed"), STOP, DEREGISTERED, RESUME, COMPLETED);
    assert.deepEqual(last(answers).done, ["journal kept"]);
  });

  it("registers again at `failed` after STOP, before QEMU resumes, and keeps the right to run", () => {
    const answers = play(armed, STOP, DEREGISTERED, { kind: "transferStatusChanged", status: "failed" });
    assert.deepEqual(last(answers).done, ["journal kept", "registerNics", "read rollback"]);
    assert.equal(last(answers).guest.role.kind, "resident");
  });

  it("does not register at `cancelling`, only when the CPUs run", () => {
    const answers = play(
      armed,
      STOP,
      DEREGISTERED,
      { kind: "transferStatusChanged", status: "cancelling" },
      RESUME,
    );
    assert.deepEqual(answers[2]?.done, []);
    assert.deepEqual(last(answers).done, ["registerNics", "announce"]);
  });

  it("gives the word of a guest that its owner had paused at `completed` alone, with that run state", () => {
    const answers = play(armedGuest("live", "completed", "paused"), COMPLETED);
    assert.deepEqual(last(answers).done, WORD);
    const { role } = last(answers).guest;
    assert.ok(role.kind === "relinquished");
    assert.equal(role.handOff.runState, "paused");
    assert.equal(role.handOff.stoppedAtUnixUs, 0n);
  });

  it("deregisters a guest whose start is refused once it is armed, and hands it off as it stands", () => {
    const starting = play(
      residentGuest("paused"),
      { kind: "startOrdered" },
      { kind: "nicsRegistered", sentAtUnixUs: 1 },
    );
    const answers = play(
      last(starting).guest,
      arming("live", "completed"),
      COMPLETED,
      { kind: "contRefused", outcome: "unknown", sentence: "no answer" },
      DEREGISTERED,
    );
    assert.deepEqual(answers[1]?.done, []);
    assert.deepEqual(answers[2]?.done, ["deregisterNics"]);
    assert.deepEqual(answers[2]?.told, ["alarm CONT_REFUSED"]);
    assert.deepEqual(last(answers).done, WORD);
  });

  it("takes a stop by the owner during the transfer for a pause, not for the switchover", () => {
    const paused = { kind: "runStateRead", purpose: "stopCause", runState: "paused" } as const;
    const answers = play(armed, STOP, DEREGISTERED, paused, COMPLETED);
    const { role } = last(answers).guest;
    assert.ok(role.kind === "relinquished");
    assert.equal(role.handOff.runState, "paused");
  });

  it("gives the word once, however often `completed` is heard", () => {
    const answers = play(armed, STOP, DEREGISTERED, SWITCHED, COMPLETED, COMPLETED, SWITCHED, DEREGISTERED);
    const words = answers.flatMap(({ done }) => done).filter((word) => word === "publishHandOff");
    assert.equal(words.length, 1);
  });
});

describe("the source's gate, post-copy", () => {
  it("asks twice after STOP where `postcopy-active` precedes it, and gives the word at the second answer", () => {
    const armed = armedGuest("postCopy", "postcopyActiveTwice");
    const answers = play(armed, POSTCOPY_ACTIVE, STOP, DEREGISTERED, SWITCHED, CONFIRMED, CONFIRMED);
    assert.deepEqual(answers[0].done, []);
    assert.deepEqual(answers[1]?.done, [
      "deregisterNics",
      "read stopCause",
      "readTransferStatus",
      "readTransferStatus",
    ]);
    assert.deepEqual(answers[4]?.done, []);
    assert.deepEqual(last(answers).done, WORD);
  });

  it("does not count answers that are not in a row", () => {
    const failed = { kind: "transferStatusRead", purpose: "pointOfNoReturn", status: "active" } as const;
    const armed = armedGuest("postCopy", "postcopyActiveTwice");
    const answers = play(armed, POSTCOPY_ACTIVE, STOP, DEREGISTERED, SWITCHED, CONFIRMED, failed, CONFIRMED);
    assert.equal(last(answers).guest.role.kind, "outgoing");
  });

  it("waits for `postcopy-active` after STOP where QEMU knows `postcopy-device`", () => {
    const armed = armedGuest("postCopy", "postcopyActiveAfterStop");
    const device = { kind: "transferStatusChanged", status: "postcopy-device" } as const;
    const answers = play(armed, device, STOP, DEREGISTERED, SWITCHED, POSTCOPY_ACTIVE);
    assert.ok(answers.slice(0, -1).every(({ done }) => !done.includes("publishHandOff")));
    assert.deepEqual(last(answers).done, WORD);
  });

  it("is not moved by `completed` of the pages when the word was given long before", () => {
    const armed = armedGuest("postCopy", "postcopyActiveTwice");
    const answers = play(
      armed,
      POSTCOPY_ACTIVE,
      STOP,
      DEREGISTERED,
      SWITCHED,
      CONFIRMED,
      CONFIRMED,
      COMPLETED,
    );
    assert.deepEqual(last(answers).done, []);
    assert.deepEqual(last(answers).told, ["transferStatusChanged"]);
  });
});

describe("the guard of a source that handed off", () => {
  const given = last(play(armedGuest("live", "completed"), STOP, DEREGISTERED, SWITCHED, COMPLETED)).guest;

  it("stops CPUs that run all the same, at once, with an alarm", () => {
    const [resumed] = play(given, RESUME);
    assert.deepEqual(resumed.done, ["sendStop", "timer stopAgain 100"]);
    assert.ok(resumed.told.includes("alarm RAN_WITHOUT_RIGHT"));
  });

  it("never registers and never starts, whatever is ordered", () => {
    const answers = play(given, { kind: "startOrdered" }, RESUME, STOP, {
      kind: "transferStatusChanged",
      status: "failed",
    });
    const done = answers.flatMap((answer) => answer.done);
    assert.ok(!done.includes("registerNics") && !done.includes("sendCont"), done.join());
  });

  it("lets its devices go once it is released and its VMM is gone, in either order", () => {
    const lost = { kind: "vmmLost", sentence: "gone" } as const;
    const released = { kind: "releaseOrdered", fence: FENCE } as const;
    assert.deepEqual(last(play(given, released, lost)).done, ["releaseDevices"]);
    assert.deepEqual(last(play(given, lost, released)).done, ["journal released", "releaseDevices"]);
  });
});

describe("a resident guest's gate", () => {
  it("registers and reads back before it starts the CPUs", () => {
    const answers = play(
      residentGuest("prelaunch"),
      { kind: "startOrdered" },
      { kind: "nicsRegistered", sentAtUnixUs: 1 },
    );
    assert.deepEqual(
      answers.map(({ done }) => done),
      [["registerNics"], ["sendCont"]],
    );
  });

  it("does not start the CPUs when a NIC could not be registered", () => {
    const refused = { kind: "nicsRegistrationRefused", sentence: "no such bridge" } as const;
    const answers = play(residentGuest("prelaunch"), { kind: "startOrdered" }, refused);
    assert.deepEqual(last(answers).done, []);
    assert.deepEqual(last(answers).told, ["alarm REGISTRATION_REFUSED"]);
  });

  it("deregisters again when the VMM refuses to start", () => {
    const refused = { kind: "contRefused", outcome: "refused", sentence: "lock" } as const;
    const answers = play(
      residentGuest("prelaunch"),
      { kind: "startOrdered" },
      { kind: "nicsRegistered", sentAtUnixUs: 1 },
      refused,
    );
    assert.deepEqual(last(answers).done, ["deregisterNics"]);
  });

  it("keeps a guest registered that runs, though the answer to its start never came", () => {
    const unanswered = { kind: "contRefused", outcome: "unknown", sentence: "no answer" } as const;
    const answers = play(
      residentGuest("prelaunch"),
      { kind: "startOrdered" },
      { kind: "nicsRegistered", sentAtUnixUs: 1 },
      RESUME,
      unanswered,
    );
    assert.deepEqual(last(answers).done, []);
    assert.deepEqual(last(answers).told, ["alarm CONT_REFUSED"]);
    assert.equal(last(answers).guest.registration, "registered");
  });

  it("deregisters at every stop, whoever caused it", () => {
    assert.equal(play(residentGuest("running"), STOP)[0].done[0], "deregisterNics");
  });

  it("registers at once a guest that someone else started, and says so", () => {
    const [resumed] = play(residentGuest("paused"), RESUME);
    assert.deepEqual(resumed.done, ["registerNics", "announce"]);
    assert.ok(resumed.told.includes("alarm RESUMED_OUTSIDE_GATE"));
  });

  it("deregisters a guest whose VMM is gone", () => {
    assert.deepEqual(play(residentGuest("running"), { kind: "vmmLost", sentence: "gone" })[0].done, [
      "deregisterNics",
    ]);
  });
});
