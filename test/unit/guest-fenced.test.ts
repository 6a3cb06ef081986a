import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { claiming, FENCE, handOff, incomingGuest, last, play, vacantGuest } from "./guest-gate.ts";

const COMPLETED = { kind: "transferStatusChanged", status: "completed" } as const;
const POSTCOPY_ACTIVE = { kind: "transferStatusChanged", status: "postcopy-active" } as const;
const READY = { kind: "runStateRead", purpose: "readiness", runState: "paused" } as const;
const REGISTERED = { kind: "nicsRegistered", sentAtUnixUs: 1 } as const;
const CONT_SENT = { kind: "contSent" } as const;
const RESUME = { kind: "cpusResumed", resumedAtUnixUs: 990 } as const;
const GONE = { kind: "vmmLost", sentence: "gone" } as const;
const HAND_BACK = { kind: "handBackOrdered", fence: FENCE } as const;
const ABORT = { kind: "abortOrdered", fence: FENCE } as const;
const QUIT = ["quitVmm", "timer quitAgain 1000"];
const word = (fence = FENCE, route: HandOffRoute = HandOffRoute.NATS) =>
  ({ kind: "handOffReceived", handOff: handOff({ fence }), route }) as const;

describe("a destination that cannot start its guest", () => {
  for (const [name, events] of [
    ["its NICs are refused", [word(), COMPLETED, { kind: "nicsRegistrationRefused", sentence: "no bridge" }]],
    ["the load fails", [word(), { kind: "transferStatusChanged", status: "failed" }]],
    ["it is not ready 10 s after the word", [word(), { kind: "timerFired", timer: "readyOverdue" }]],
    ["the coordinator asks for it", [word(), HAND_BACK]],
  ] as const) {
    it(`journals that it never will, then ends its VMM, then says so: ${name}`, () => {
      const answers = play(incomingGuest("live"), ...events);
      assert.deepEqual(last(answers).done, ["journal handedBack", ...QUIT]);
      assert.equal(last(answers).told.at(-1), "handedBack");
      assert.equal(last(answers).guest.role.kind, "fenced");
    });
  }

  it("does so when its VMM is gone, and has nothing to end then", () => {
    const answers = play(incomingGuest("live"), word(), GONE);
    assert.deepEqual(last(answers).done, ["journal handedBack"]);
    assert.deepEqual(last(answers).told, ["vmmLost", "handedBack"]);
  });

  it("does so when QEMU refuses `cont`, and deregisters first of all that follows", () => {
    const refused = { kind: "contRefused", outcome: "refused", sentence: "image locked" } as const;
    const answers = play(incomingGuest("live"), word(), COMPLETED, READY, REGISTERED, CONT_SENT, refused);
    assert.deepEqual(last(answers).done, ["journal handedBack", "deregisterNics", ...QUIT]);
  });

  it("keeps the guest once `cont` was sent, whatever happens: it may run at any time", () => {
    const unknown = { kind: "contRefused", outcome: "unknown", sentence: "no answer" } as const;
    const sent = [word(), COMPLETED, READY, REGISTERED, CONT_SENT] as const;
    for (const event of [unknown, HAND_BACK, ABORT, { kind: "timerFired", timer: "readyOverdue" } as const]) {
      const answers = play(incomingGuest("live"), ...sent, event);
      assert.ok(!last(answers).done.includes("journal handedBack"));
      assert.equal(last(answers).guest.role.kind, "incoming");
    }
    assert.equal(last(play(incomingGuest("live"), ...sent, GONE)).guest.role.kind, "resident");
  });

  it("is not claimed for another attempt once `cont` was sent", () => {
    const sent = [word(), COMPLETED, READY, REGISTERED, CONT_SENT] as const;
    const before = last(play(incomingGuest("live"), ...sent)).guest;
    const claim = { ...claiming("live"), fence: { epoch: FENCE.epoch + 1n, revision: 1n } };
    const [claimed] = play(before, claim);
    assert.deepEqual(claimed.done, []);
    assert.deepEqual(claimed.guest, before);
  });

  it("takes its source's own word for how its owner has the guest, whatever a later statement says of that", () => {
    const own = { ...word(), handOff: handOff({ runState: "paused" }) };
    const higher = { epoch: FENCE.epoch + 1n, revision: 1n };
    const stated = word(higher, HandOffRoute.GRPC);
    const { guest } = last(play(incomingGuest("live"), own, stated));
    assert.ok(guest.role.kind === "incoming");
    assert.equal(guest.role.handOff?.runState, "paused");
    assert.deepEqual(guest.role.handOff?.fence, higher);
    assert.deepEqual(guest.fence, higher);
  });

  it("keeps its VMM alive in post-copy until it is aborted, for the source needs it", () => {
    const answers = play(incomingGuest("postCopy"), word(), POSTCOPY_ACTIVE, HAND_BACK, ABORT);
    assert.deepEqual(answers[2]?.done, ["journal handedBack"]);
    assert.deepEqual(last(answers).done, ["journal released", ...QUIT]);
  });
});

describe("a fenced destination", () => {
  const fenced = last(play(incomingGuest("live"), HAND_BACK)).guest;

  it("answers the word of its epoch with the hand-back, and starts nothing", () => {
    const answers = play(fenced, word(), COMPLETED, READY, REGISTERED);
    assert.deepEqual(answers[0].told, ["handedBack"]);
    assert.deepEqual(
      answers.flatMap(({ done }) => done),
      [],
    );
  });

  it("has CPUs that run all the same stopped, and again until they stand", () => {
    const again = { kind: "timerFired", timer: "stopAgain" } as const;
    for (const guest of [fenced, vacantGuest()]) {
      const answers = play(guest, RESUME, again, again, { kind: "cpusStopped", stoppedAtUnixUs: 995 }, again);
      for (const answer of answers.slice(0, 3)) {
        assert.deepEqual(answer.done, ["sendStop", "timer stopAgain 100"]);
      }
      assert.deepEqual(last(answers).done, []);
    }
  });

  it("asks its VMM to quit until it is gone, and lets its devices go then if it was aborted", () => {
    const again = { kind: "timerFired", timer: "quitAgain" } as const;
    assert.deepEqual(last(play(fenced, again)).done, QUIT);
    assert.deepEqual(last(play(fenced, GONE)).done, []);
    assert.deepEqual(last(play(fenced, ABORT, GONE)).done, ["releaseDevices"]);
    assert.deepEqual(last(play(fenced, GONE, ABORT)).done, ["journal released", "releaseDevices"]);
  });

  it("fences also a VMM that no migration has claimed yet, so that a late preparation finds nobody", () => {
    const answers = play(vacantGuest(), ABORT);
    assert.deepEqual(last(answers).done, ["journal released", "journal handedBack", ...QUIT]);
  });

  it("starts the guest after all where the source could not take it back, under the epoch of that word alone", () => {
    const held = last(play(incomingGuest("postCopy"), word(), POSTCOPY_ACTIVE, HAND_BACK)).guest;
    assert.deepEqual(last(play(held, word())).told, ["handedBack"]);
    const higher = { epoch: FENCE.epoch + 2n, revision: 9n };
    const answers = play(held, word(higher, HandOffRoute.GRPC), READY, REGISTERED);
    assert.deepEqual(answers[0].done, ["journal prepared", "timer readyOverdue 10000", "read readiness"]);
    assert.deepEqual(answers[1]?.done, ["registerNics"]);
    assert.deepEqual(last(answers).done, ["journal contSent", "sendCont"]);
    assert.deepEqual(last(answers).guest.fence, higher);
  });
});

describe("a destination whose guest cannot go back", () => {
  const held = last(play(incomingGuest("postCopy"), word(), POSTCOPY_ACTIVE, HAND_BACK)).guest;
  const higher = { epoch: FENCE.epoch + 2n, revision: 9n };
  const begun = last(play(held, word(higher, HandOffRoute.GRPC), READY)).guest;
  const again = { kind: "timerFired", timer: "startAgain" } as const;

  it("registers it again where that is refused, until it can start it", () => {
    const refused = play(
      begun,
      { kind: "nicsRegistrationRefused", sentence: "no bridge" },
      again,
      REGISTERED,
    );
    assert.deepEqual(refused[0].done, ["timer startAgain 20"]);
    assert.deepEqual(refused[1]?.done, ["registerNics"]);
    assert.deepEqual(last(refused).done, ["journal contSent", "sendCont"]);
  });

  it("starts it again where its VMM refused that, and keeps it where that is slow to get ready", () => {
    const cont = [REGISTERED, { kind: "contSent" }] as const;
    const refusal = { kind: "contRefused", outcome: "refused", sentence: "locked" } as const;
    const refused = play(begun, ...cont, refusal, { kind: "nicsDeregistered" }, again);
    assert.deepEqual(refused[2]?.done, ["deregisterNics", "timer startAgain 500"]);
    assert.deepEqual(last(refused).done, ["registerNics"]);
    const slow = last(play(held, word(higher, HandOffRoute.GRPC))).guest;
    assert.deepEqual(last(play(slow, { kind: "timerFired", timer: "readyOverdue" })).done, []);
  });
});

describe("a destination that hears of a word in its source's place", () => {
  const higher = { epoch: FENCE.epoch + 1n, revision: 9n };

  it("takes it from its coordinator, under its epoch", () => {
    const answers = play(
      incomingGuest("live"),
      COMPLETED,
      READY,
      word(higher, HandOffRoute.GRPC),
      REGISTERED,
    );
    assert.deepEqual(answers[2]?.done, ["journal prepared", "registerNics"]);
    assert.deepEqual(last(answers).guest.fence, higher);
    assert.deepEqual(last(answers).done, ["journal contSent", "sendCont"]);
  });

  it("does not take it from anybody on NATS", () => {
    const answers = play(incomingGuest("live"), COMPLETED, READY, word(higher));
    assert.deepEqual(last(answers).done, []);
  });
});
