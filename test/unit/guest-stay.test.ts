import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Guest } from "../../agent/guest/guest.ts";
import { armedGuest, FENCE, type Heard, incomingGuest, last, play, residentGuest } from "./guest-gate.ts";

const POLICY = ["paused", "io-error"];
const STOP = { kind: "cpusStopped", stoppedAtUnixUs: 990 } as const;
const RESUME = { kind: "cpusResumed", resumedAtUnixUs: 990 } as const;
const REGISTERED = { kind: "nicsRegistered", sentAtUnixUs: 1 } as const;
const DEREGISTERED = { kind: "nicsDeregistered" } as const;
const UNEXPLAINED = { kind: "timerFired", timer: "stopUnexplained" } as const;
const TRANSFER = { kind: "transferOrdered", fence: FENCE } as const;
const COMPLETED = { kind: "transferStatusChanged", status: "completed" } as const;
const because = (runState: string) => ({ kind: "runStateRead", purpose: "stopCause", runState }) as const;

function staying(guest: Guest, policy: readonly string[] = POLICY): Guest {
  return { ...guest, registration: "registered", staysRegisteredFor: policy };
}

/** Of a running guest with that policy, after these events. */
function after(...events: readonly Heard[]) {
  return last(play(staying(residentGuest("running")), STOP, ...events));
}

describe("the reason of a stop", () => {
  for (const reason of ["paused", "shutdown", "io-error", "guest-panicked", "finish-migrate", "suspended"]) {
    it(`is told once it is read: ${reason}`, () => {
      const answers = play(residentGuest("running"), STOP, DEREGISTERED, because(reason), because(reason));
      assert.deepEqual(
        answers.map(({ told }) => told),
        [["cpusStopped"], ["nicsDeregistered"], ["stopExplained"], []],
      );
      const { cpus } = last(answers).guest;
      assert.deepEqual(cpus, { kind: "stopped", runState: reason });
    });
  }

  it("is not what an answer from before the stop says", () => {
    const [, answer] = play(residentGuest("running"), STOP, because("running"));
    assert.deepEqual(answer?.told, []);
    assert.deepEqual(answer?.guest.cpus, { kind: "stopped", runState: "unread" });
  });

  it("is asked for until a VMM that was told to save its guest has done so", () => {
    const again = { kind: "timerFired", timer: "readStopCauseAgain" } as const;
    const saved = play(
      residentGuest("running"),
      ...[STOP, DEREGISTERED, because("finish-migrate"), again, because("postmigrate"), again],
    );
    assert.deepEqual(
      saved.map(({ done }) => done),
      [
        ["deregisterNics", "read stopCause"],
        [],
        ["timer readStopCauseAgain 250"],
        ["read stopCause"],
        [],
        [],
      ],
    );
    assert.deepEqual(last(saved).guest.cpus, { kind: "stopped", runState: "postmigrate" });
  });

  it("is asked for anew after a reset of a guest that stands", () => {
    const report = { event: "RESET", cause: "host-qmp-system-reset", action: "", device: "" };
    const reset = { kind: "vmmReported", report: { ...report, happenedAtUnixUs: 1n } } as const;
    const answer = last(play(residentGuest("running"), STOP, DEREGISTERED, because("shutdown"), reset));
    assert.deepEqual([answer.told, answer.done], [["vmmReported"], ["read stopCause"]]);
    assert.deepEqual(play(residentGuest("running"), reset)[0].done, []);
  });
});

describe("a guest that suspends itself", () => {
  const woken = { kind: "wakeupHeard" } as const;
  const runs = { kind: "runStateRead", purpose: "wakeup", runState: "running" } as const;
  const still = { kind: "runStateRead", purpose: "wakeup", runState: "finish-migrate" } as const;

  it("is registered again, with no alarm, once its VMM says that it runs after a wakeup", () => {
    const suspended = [STOP, DEREGISTERED, because("suspended"), woken] as const;
    const answers = play(residentGuest("running"), ...suspended, runs);
    assert.deepEqual(answers[3]?.done, ["read wakeup"]);
    assert.deepEqual(last(answers).done, ["registerNics", "announce"]);
    assert.deepEqual(last(answers).told, ["cpusStarted"]);
  });

  it("is not taken to run for a wakeup that a transfer's end brought about", () => {
    const answers = play(armedGuest("live", "completed"), TRANSFER, STOP, DEREGISTERED, woken, still);
    assert.deepEqual(last(answers).done, []);
    assert.equal(last(answers).guest.cpus.kind, "stopped");
  });
});

describe("a guest that may stay registered for pauses", () => {
  it("is deregistered at once, as ever, where it may for none", () => {
    const [stop] = play(residentGuest("running"), STOP);
    assert.deepEqual(stop.done, ["deregisterNics", "read stopCause"]);
  });

  it("stays registered once the reason is read", () => {
    const [stop] = play(staying(residentGuest("running")), STOP);
    assert.deepEqual(stop.done, ["timer stopUnexplained 100", "read stopCause"]);
    const paused = after(because("paused"));
    assert.deepEqual([paused.done, paused.guest.stay.kind], [[], "stays"]);
    assert.deepEqual(after(because("paused"), UNEXPLAINED).done, []);
  });

  it("is deregistered where no reason comes within 100 ms of this very stop, whatever comes later", () => {
    assert.deepEqual(after(UNEXPLAINED).done, [], "the timer of an older stop");
    const asked = after().guest;
    const overdue: Guest = { ...asked, stay: { kind: "asked", sinceUnixUs: -100_000 } };
    assert.deepEqual(play(overdue, UNEXPLAINED)[0].done, ["deregisterNics"]);
    assert.deepEqual(last(play(overdue, UNEXPLAINED, DEREGISTERED, because("paused"))).done, []);
  });

  for (const reason of ["shutdown", "finish-migrate", "guest-panicked", "postmigrate"]) {
    it(`is deregistered where the reason is another one: ${reason}`, () => {
      assert.equal(after(because(reason)).done[0], "deregisterNics");
    });
  }

  it("goes on registered, with no alarm, when it is resumed", () => {
    const resumed = after(because("paused"), RESUME);
    assert.deepEqual([resumed.done, resumed.told], [["announce"], ["cpusStarted"]]);
    assert.deepEqual([after(RESUME).done, after(RESUME).guest.stay.kind], [["announce"], "none"]);
  });

  it("is registered and read back before it is started by order, and deregistered where that fails", () => {
    const start = { kind: "startOrdered" } as const;
    const started = after(because("paused"), start);
    assert.deepEqual(started.done, ["registerNics"]);
    assert.deepEqual(last(play(started.guest, REGISTERED)).done, ["sendCont"]);
    const refused = last(play(started.guest, { kind: "nicsRegistrationRefused", sentence: "no" }));
    assert.deepEqual(refused.done, ["deregisterNics"]);
  });

  it("is deregistered by an order to stop, and that is tried until it holds", () => {
    const stopped = after(because("paused"), { kind: "stopOrdered" });
    assert.deepEqual(stopped.done, ["deregisterNics"]);
    const retry = { kind: "timerFired", timer: "retryDeregistration" } as const;
    const refused = play(stopped.guest, { kind: "nicsDeregistrationRefused", sentence: "busy" }, retry);
    assert.deepEqual(last(refused).done, ["deregisterNics"]);
  });

  it("is not deregistered by the late timer of an attempt that has succeeded", () => {
    assert.deepEqual(after(because("paused"), { kind: "timerFired", timer: "retryDeregistration" }).done, []);
  });

  it("is judged anew when it stands for another reason", () => {
    assert.deepEqual(after(because("paused"), because("io-error")).done, []);
    assert.deepEqual(after(because("paused"), because("prelaunch")).done, ["deregisterNics"]);
  });

  it("is deregistered when its VMM is gone", () => {
    const lost = after(because("paused"), { kind: "vmmLost", sentence: "gone" });
    assert.deepEqual([lost.done, lost.guest.stay.kind], [["deregisterNics"], "none"]);
  });

  it("is mended while it stays", () => {
    const drift = { kind: "registrationDrifted", reason: "GONE", sentence: "gone" } as const;
    const [operation] = after(because("paused"), drift).operations.filter(({ kind }) => kind === "mendNics");
    assert.deepEqual(operation, { kind: "mendNics", registered: "registered" });
  });
});

describe("a guest that may stay registered for pauses, in a migration", () => {
  const armed = staying(armedGuest("live", "completed"));

  it("stays so between arming and the transfer, and not once that may have begun", () => {
    const paused = play(armed, STOP, because("paused"));
    assert.deepEqual(last(paused).guest.stay.kind, "stays");
    assert.deepEqual(play(armed, TRANSFER, STOP)[1]?.done, ["deregisterNics", "read stopCause"]);
  });

  it("is deregistered when the transfer begins while the reason is being read", () => {
    assert.deepEqual(last(play(armed, STOP, TRANSFER)).done, ["journal transferBegun", "deregisterNics"]);
  });

  for (const [name, ...before] of [
    ["paused before it was armed"],
    ["paused after it was armed", STOP, because("paused")],
  ] as const) {
    it(`is handed off with nothing registered: ${name}`, () => {
      const guest =
        before.length > 0
          ? armed
          : { ...staying(armedGuest("live", "completed", "paused")), stay: { kind: "stays" } as const };
      const answers = play(guest, ...before, TRANSFER, COMPLETED, DEREGISTERED);
      const [begun, completed, deregistered] = answers.slice(-3);
      assert.deepEqual(begun?.done, ["journal transferBegun"]);
      assert.deepEqual(completed?.done, ["deregisterNics"]);
      assert.deepEqual(deregistered?.done, ["journal handedOff", "publishHandOff"]);
      const { role } = last(answers).guest;
      assert.ok(role.kind === "relinquished");
      assert.equal(role.handOff.runState, "paused");
    });
  }

  it("gives no word while it could not be deregistered, and tries again", () => {
    const guest: Guest = { ...staying(armedGuest("live", "completed", "paused")), stay: { kind: "stays" } };
    const answers = play(
      guest,
      TRANSFER,
      COMPLETED,
      { kind: "nicsDeregistrationRefused", sentence: "busy" },
      { kind: "timerFired", timer: "retryDeregistration" },
      DEREGISTERED,
    );
    assert.deepEqual(
      answers.slice(2).map(({ done }) => done),
      [["timer retryDeregistration 10"], ["deregisterNics"], ["journal handedOff", "publishHandOff"]],
    );
  });

  it("stays registered where the transfer is given up", () => {
    const guest: Guest = { ...staying(armedGuest("live", "completed", "paused")), stay: { kind: "stays" } };
    const kept = last(play(guest, TRANSFER, { kind: "transferStatusChanged", status: "cancelled" }));
    assert.deepEqual(kept.done, ["journal kept"]);
    assert.deepEqual(
      [kept.guest.role.kind, kept.guest.registration, kept.guest.stay.kind],
      ["resident", "registered", "stays"],
    );
  });

  it("is never registered with its CPUs stopped at a destination", () => {
    const incoming: Guest = {
      ...incomingGuest("live"),
      registration: "registered",
      staysRegisteredFor: POLICY,
    };
    assert.equal(play(incoming, STOP)[0].done[0], "deregisterNics");
  });
});
