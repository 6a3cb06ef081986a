import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evolve } from "../../agent/guest/evolve.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import type { GuestEvent } from "../../agent/guest/guest-event.ts";
import { last, play, residentGuest } from "./guest-gate.ts";

const drifted = { kind: "registrationDrifted", reason: "NOT_REGISTERED", sentence: "net0: gone." } as const;
const mended = { kind: "nicsMended" } as const;
const missing = { kind: "nicsMendingFailed", cause: "missing", sentence: "net0: no bridge." } as const;
const refused = { kind: "nicsMendingFailed", cause: "refused", sentence: "net0: ENOMEM." } as const;
const timer = { kind: "timerFired", timer: "mendRegistration" } as const;

/** A gate on a clock of its own: `after` milliseconds of it, the event. */
function onClock(guest: Guest) {
  let now = guest;
  let atUnixUs = 1_000_000;
  return (afterMs: number, event: Parameters<typeof play>[1]): string => {
    atUnixUs += afterMs * 1_000;
    const { guest: next, operations } = evolve(now, { ...event, atUnixUs } as GuestEvent);
    now = next;
    return operations
      .map((operation) => {
        if (operation.kind === "setTimer") return `in ${operation.delayMs} ms`;
        if (operation.kind === "mendNics") return `mend ${operation.registered}`;
        if (operation.kind !== "publish") return operation.kind;
        return operation.event.$case === "alarmRaised" ? operation.event.value.reason : operation.event.$case;
      })
      .join(", ");
  };
}

describe("a registration that others undid", () => {
  it("is told and mended at once, and told when it is back", () => {
    const at = onClock(residentGuest("running"));
    assert.equal(at(0, drifted), "registrationDrifted, mend registered");
    assert.equal(at(1, mended), "registrationMended");
  });

  it("is put back into quarantine where the guest stands", () => {
    const at = onClock(residentGuest("paused"));
    assert.equal(at(0, drifted), "registrationDrifted, mend quarantined");
  });

  it("is mended after 10 ms, 20 ms and so on to 1 s while it is undone again", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    at(0, mended);
    for (const paceMs of [10, 20, 40, 80, 160, 320, 640, 1000, 1000]) {
      assert.equal(at(0, drifted), `registrationDrifted, in ${paceMs} ms`);
      assert.equal(at(0, drifted), "");
      assert.equal(at(paceMs, timer), "mend registered");
      assert.equal(at(0, mended), "registrationMended");
    }
  });

  it("is mended at once again after it was left alone for 10 s", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    at(0, mended);
    at(0, drifted);
    at(10, timer);
    at(0, mended);
    assert.equal(at(10_000, drifted), "registrationDrifted, mend registered");
    at(0, mended);
    assert.equal(at(0, drifted), "registrationDrifted, in 10 ms");
  });

  it("never waits longer than the pace, however the host's clock is set back", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    at(0, mended);
    assert.equal(at(-3_600_000, drifted), "registrationDrifted, in 10 ms");
  });

  it("raises one alarm when nothing helped for about a second, and is tried every second", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    assert.equal(at(0, missing), "in 1000 ms");
    assert.equal(at(1000, timer), "mend registered");
    assert.equal(at(0, missing), "REGISTRATION_NOT_MENDED, in 1000 ms");
    assert.equal(at(1000, timer), "mend registered");
    assert.equal(at(0, missing), "in 1000 ms");
    assert.equal(at(1000, timer), "mend registered");
    assert.equal(at(0, mended), "registrationMended");
    assert.equal(at(20_000, drifted), "registrationDrifted, mend registered");
    assert.equal(at(0, missing), "in 1000 ms");
    at(1000, timer);
    assert.equal(at(0, missing), "REGISTRATION_NOT_MENDED, in 1000 ms");
  });

  it("is tried as soon as something changed while it was missing, and no timer is lost or doubled", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    assert.equal(at(0, missing), "in 1000 ms");
    assert.equal(at(5, drifted), "in 10 ms");
    assert.equal(at(1, drifted), "");
    assert.equal(at(9, timer), "mend registered");
    assert.equal(at(0, missing), "");
    assert.equal(at(100, drifted), "mend registered");
    assert.equal(at(0, missing), "");
    assert.equal(at(885, timer), "mend registered");
    assert.equal(at(0, missing), "REGISTRATION_NOT_MENDED, in 1000 ms");
  });

  it("is mended ever more slowly where the kernel refuses", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    assert.equal(at(0, refused), "in 10 ms");
    assert.equal(at(10, timer), "mend registered");
    assert.equal(at(0, refused), "in 20 ms");
  });

  it("is not tried earlier for what the gate's own attempt changed, which left what it found", () => {
    const at = onClock(residentGuest("running"));
    const same = { ...refused, sentence: drifted.sentence };
    at(0, drifted);
    assert.equal(at(0, same), "in 10 ms");
    assert.equal(at(0, drifted), "");
    assert.equal(at(10, timer), "mend registered");
    assert.equal(at(1, same), "in 20 ms");
    assert.equal(at(15, drifted), "");
    assert.equal(at(1, { ...drifted, sentence: "net0: not in VLAN 9." }), "mend registered");
  });

  it("is left to the gate's own retries where the gate's own change failed", () => {
    const failing = { ...residentGuest("running"), registrationFailures: 1 };
    assert.deepEqual(last(play(failing, drifted)).operations, []);
  });

  it("is forgotten with the CPUs' stop: what waits then does nothing", () => {
    const at = onClock(residentGuest("running"));
    at(0, drifted);
    at(0, missing);
    assert.match(at(5, { kind: "cpusStopped", stoppedAtUnixUs: 1 }), /deregisterNics/);
    at(0, { kind: "nicsDeregistered" });
    assert.equal(at(1000, timer), "");
    assert.equal(at(0, mended), "");
  });
});
