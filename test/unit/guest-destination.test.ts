import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evolve } from "../../agent/guest/evolve.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import {
  FENCE,
  type Heard,
  handOff,
  incomingGuest,
  last,
  operationWord,
  play,
  vacantGuest,
} from "./guest-gate.ts";

const COMPLETED = { kind: "transferStatusChanged", status: "completed" } as const;
const POSTCOPY_ACTIVE = { kind: "transferStatusChanged", status: "postcopy-active" } as const;
const READY = { kind: "runStateRead", purpose: "readiness", runState: "paused" } as const;
const NOT_YET = { kind: "runStateRead", purpose: "readiness", runState: "inmigrate" } as const;
const REGISTERED = { kind: "nicsRegistered", sentAtUnixUs: 980 } as const;
const RESUME = { kind: "cpusResumed", resumedAtUnixUs: 990 } as const;
const START = ["journal contSent", "sendCont"];
const OVERDUE = "timer readyOverdue 10000";
const STOPPED_BY_GUARD = ["sendStop", "timer stopAgain 100"];

function word(changes: Partial<HandOff> = {}) {
  return { kind: "handOffReceived", handOff: handOff(changes), route: HandOffRoute.NATS } as const;
}

describe("the destination's gate", () => {
  it("starts the CPUs only when ready, handed off and registered, and journals that before", () => {
    const answers = play(incomingGuest("live"), word(), COMPLETED, READY, REGISTERED);
    assert.deepEqual(
      answers.map(({ done }) => done),
      [[OVERDUE], ["read readiness", "registerNics"], [], START],
    );
  });

  it("does the same when the word comes last", () => {
    const answers = play(incomingGuest("live"), COMPLETED, READY, word(), REGISTERED);
    assert.deepEqual(
      answers.map(({ done }) => done),
      [["read readiness"], ["timer handOffOverdue 20"], ["registerNics"], START],
    );
  });

  it("lets registration overlap the question of readiness, never the start", () => {
    const answers = play(incomingGuest("live"), word(), COMPLETED, REGISTERED, NOT_YET, READY);
    assert.deepEqual(answers[2]?.done, []);
    assert.deepEqual(answers[3]?.done, ["read readiness"]);
    assert.deepEqual(last(answers).done, START);
  });

  it("does not start what it knows to be registered no more before that is read back anew", () => {
    const gone = { kind: "registrationDrifted", reason: "NOT_REGISTERED", sentence: "gone" } as const;
    const unmended = { kind: "nicsMendingFailed", cause: "missing", sentence: "no bridge" } as const;
    const known = [word(), COMPLETED, REGISTERED, gone, unmended, READY] as const;
    assert.deepEqual(last(play(incomingGuest("live"), ...known)).done, ["registerNics"]);
    assert.deepEqual(last(play(incomingGuest("live"), ...known, REGISTERED)).done, START);
    const refused = { kind: "nicsRegistrationRefused", sentence: "no bridge" } as const;
    assert.deepEqual(last(play(incomingGuest("live"), ...known, refused)).done.slice(0, 2), [
      "journal handedBack",
      "deregisterNics",
    ]);
    assert.deepEqual(
      last(
        play(
          incomingGuest("live"),
          word(),
          COMPLETED,
          REGISTERED,
          gone,
          unmended,
          { kind: "nicsMended" },
          READY,
        ),
      ).done,
      START,
    );
  });

  it("reads back anew what its VMM was so long in loading that the kernel may have lost it and told nobody", () => {
    const { guest } = last(play(incomingGuest("live"), word(), COMPLETED, REGISTERED));
    const doneWhenReadyAt = (atUnixUs: number) =>
      evolve(guest, { ...READY, atUnixUs }).operations.flatMap(operationWord);
    assert.deepEqual(doneWhenReadyAt(3_000), START);
    assert.deepEqual(doneWhenReadyAt(3_100), ["mendNics"]);
    const late = evolve(guest, { ...READY, atUnixUs: 3_100 });
    const doneAfter = (event: Heard) =>
      evolve(late.guest, { ...event, atUnixUs: 3_101 }).operations.flatMap(operationWord);
    assert.deepEqual(doneAfter({ kind: "nicsMended" }), START);
    assert.deepEqual(doneAfter({ kind: "nicsMendingFailed", cause: "missing", sentence: "no bridge" }), [
      "registerNics",
    ]);
  });

  it("does not register in post-copy while the guest still loads, which may take long", () => {
    const answers = play(incomingGuest("postCopy"), word(), POSTCOPY_ACTIVE, NOT_YET, READY, REGISTERED);
    assert.deepEqual(
      answers.map(({ done }) => done),
      [[OVERDUE], ["read readiness"], ["timer readReadinessAgain 1"], ["registerNics"], START],
    );
  });

  it("registers nothing without the word, however ready it is", () => {
    const answers = play(incomingGuest("live"), COMPLETED, READY, {
      kind: "timerFired",
      timer: "handOffOverdue",
    });
    const done = answers.flatMap((answer) => answer.done);
    assert.ok(!done.includes("registerNics") && !done.includes("sendCont"));
    assert.deepEqual(last(answers).told, ["handOffAwaited"]);
  });

  it("asks again a millisecond later while the guest still loads in post-copy, and never without a pause", () => {
    const again = { kind: "timerFired", timer: "readReadinessAgain" } as const;
    const answers = play(incomingGuest("postCopy"), POSTCOPY_ACTIVE, NOT_YET, again, NOT_YET);
    assert.deepEqual(
      answers.map(({ done }) => done),
      [
        ["read readiness"],
        ["timer readReadinessAgain 1"],
        ["read readiness"],
        ["timer readReadinessAgain 1"],
      ],
    );
  });

  it("does not take `postcopy-active` of a live migration for loaded", () => {
    assert.deepEqual(last(play(incomingGuest("live"), POSTCOPY_ACTIVE)).done, []);
  });

  it("owns the guest once it runs, and announces it", () => {
    const answers = play(
      incomingGuest("live"),
      word(),
      COMPLETED,
      READY,
      REGISTERED,
      { kind: "contSent" },
      RESUME,
    );
    assert.equal(last(answers).guest.role.kind, "resident");
    assert.deepEqual(last(answers).done, ["journalWhenPossible started", "announce"]);
  });

  it("takes a paused guest over without registering or starting it", () => {
    const answers = play(incomingGuest("live"), COMPLETED, READY, word({ runState: "paused" }));
    assert.deepEqual(last(answers).done, ["journal takenOverPaused"]);
    assert.deepEqual(last(answers).told, ["handOffReceived", "takenOverPaused"]);
    assert.equal(last(answers).guest.role.kind, "resident");
    const done = answers.flatMap((answer) => answer.done);
    assert.ok(!done.includes("registerNics") && !done.includes("sendCont"));
  });

  for (const [name, changes] of [
    ["an older epoch", { fence: { epoch: 6n, revision: 9n } }],
    ["a newer epoch", { fence: { epoch: 8n, revision: 0n } }],
    ["no epoch", { fence: undefined }],
    ["another guest", { guestId: "db" }],
    ["another source", { sourceHostId: "hc" }],
    ["another destination", { destinationHostId: "hc" }],
    ["another migration", { migrationId: "web-mk3v0q8ya1z8" }],
  ] as const) {
    it(`is not moved by a word of ${name}`, () => {
      const answers = play(incomingGuest("live"), COMPLETED, READY, word(changes as Partial<HandOff>));
      assert.deepEqual(last(answers).done, []);
      assert.deepEqual(last(answers).told, []);
    });
  }

  it("starts once, however often everything is heard", () => {
    const contSent = { kind: "contSent" } as const;
    const answers = play(
      incomingGuest("live"),
      word(),
      COMPLETED,
      READY,
      REGISTERED,
      contSent,
      word(),
      READY,
      REGISTERED,
    );
    const starts = answers.flatMap(({ done }) => done).filter((done) => done === "sendCont");
    assert.equal(starts.length, 1);
  });

  it("stops CPUs that run before their start was ordered, with an alarm", () => {
    const [resumed] = play(incomingGuest("live"), RESUME);
    assert.deepEqual(resumed.done, STOPPED_BY_GUARD);
    assert.ok(resumed.told.includes("alarm RAN_WITHOUT_RIGHT"));
  });

  it("starts a loaded guest that someone started and the guard stopped, once the word is here", () => {
    const stopped = { kind: "cpusStopped", stoppedAtUnixUs: 990 } as const;
    const running = { kind: "runStateRead", purpose: "readiness", runState: "running" } as const;
    const early = play(
      incomingGuest("live"),
      COMPLETED,
      RESUME,
      running,
      stopped,
      { kind: "nicsDeregistered" },
      READY,
    );
    assert.deepEqual(early[1]?.done, STOPPED_BY_GUARD);
    assert.deepEqual(early[3]?.done, ["deregisterNics", "read readiness"]);
    assert.deepEqual(
      play(last(early).guest, word(), REGISTERED).map(({ done }) => done),
      [["registerNics"], START],
    );
  });

  it("registers and starts anew a guest that was stopped between `cont` and RESUME", () => {
    const started = last(
      play(incomingGuest("live"), word(), COMPLETED, READY, REGISTERED, { kind: "contSent" }),
    ).guest;
    const stopped = { kind: "cpusStopped", stoppedAtUnixUs: 990 } as const;
    const answers = play(started, stopped, { kind: "nicsDeregistered" }, REGISTERED);
    assert.deepEqual(
      answers.map(({ done }) => done),
      [["deregisterNics", "registerNics"], [], ["sendCont"]],
    );
    assert.equal(last(answers).guest.role.kind, "resident");
  });

  it("never leaves a guest that it owns running unregistered", () => {
    const started = last(
      play(incomingGuest("live"), word(), COMPLETED, READY, REGISTERED, { kind: "contSent" }),
    ).guest;
    const [resumed] = play({ ...started, registration: "quarantined" }, RESUME);
    assert.deepEqual(resumed.done, ["registerNics", "journalWhenPossible started", "announce"]);
  });

  it("stops the CPUs of a waiting VMM that no migration claimed", () => {
    assert.deepEqual(play(vacantGuest(), RESUME)[0].done, STOPPED_BY_GUARD);
  });

  it("tells a later stop no longer under the finished migration's name", () => {
    const running = last(
      play(incomingGuest("live"), word(), COMPLETED, READY, REGISTERED, { kind: "contSent" }, RESUME),
    );
    const [stopped] = play(running.guest, { kind: "cpusStopped", stoppedAtUnixUs: 990 });
    assert.equal(stopped.guest.migration, null);
    assert.deepEqual(stopped.guest.fence, FENCE);
  });
});
