import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AnnouncementRun, FirstFrameSeen, SentFrames } from "../../agent/announce/announcer.ts";
import { evolve } from "../../agent/guest/evolve.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import { type DevicesChange, GuestRunner } from "../../agent/guest/guest-runner.ts";
import { step } from "../../agent/guest/step.ts";
import type { OnVmmAnswer, Vmm, VmmEvent, VmmStatus } from "../../agent/vmm/vmm.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { type Announced, AnnouncementsEndedBy, HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import {
  armedGuest,
  FENCE,
  handOff,
  incomingGuest,
  MIGRATION,
  residentGuest,
  SOURCE,
  vacantGuest,
} from "./guest-gate.ts";

/** A gate whose kernel, VMM, journal and bus write down what is asked of them, in the order they are asked. */
function benchedGate(
  guest: Guest,
  faults: { readonly journal?: "full" | "roomy"; readonly start?: DevicesChange } = {},
  beginAnnouncements?: () => AnnouncementRun,
  rule?: typeof evolve,
) {
  const done: string[] = [];
  const told: string[] = [];
  const announced: Announced[] = [];
  const alarms: string[] = [];
  const timers: { delayMs: number; fire: () => void }[] = [];
  let runState = "running";
  let now = 1_000;
  const answered = <Value>(value: Value) =>
    ({ kind: "done", value, sentAtUnixUs: now, receivedAtUnixUs: now }) as const;
  const notAsked = () => assert.fail("the gate asked the VMM for something unexpected");
  const vmm: Vmm = {
    ...(Object.fromEntries(
      ["queryStatus", "queryMigrate", "cont", "stop", "quit", "migrate"].map((name) => [name, notAsked]),
    ) as unknown as Vmm),
    sendQueryStatus: (onAnswer: OnVmmAnswer<VmmStatus>) => {
      done.push("query-status");
      const status: VmmStatus = { runState: "paused", runStateText: runState, running: false };
      queueMicrotask(() => onAnswer(answered(status)));
    },
    sendCont: () => void done.push("cont"),
    sendStop: () => void done.push("stop"),
    sendMigrateCancel: () => void done.push("migrate_cancel"),
    yankMigration: async () => void done.push("yank"),
    quit: async () => void done.push("quit"),
    announceSelf: async () => void done.push("announce-self"),
    close: () => void done.push("close"),
  };
  const runner = new GuestRunner(
    {
      vmm,
      devices: {
        start: () => {
          done.push("register");
          return faults.start ?? { ok: true };
        },
        stop: () => {
          done.push("deregister");
          return { ok: true };
        },
        release: () => ({ ok: true }),
        withhold: () => {},
        mend: () => ({ result: "mended" }),
      },
      clock: {
        unixUs: () => now++,
        after: (delayMs, fire) => {
          const timer = { delayMs, fire };
          timers.push(timer);
          return () => void timers.splice(timers.indexOf(timer), 1);
        },
      },
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      handOffs: { publish: () => void done.push("publish word"), subscribe: () => () => {} },
      journal: ({ kind }) => {
        if (faults.journal === "full") {
          throw new SwitchoverError("UNAVAILABLE", "no space", { reason: "JOURNAL_UNWRITABLE" });
        }
        done.push(`journal ${kind}`);
      },
      publish: (_guest, event) => {
        told.push(event.$case);
        if (event.$case === "announced") announced.push(event.value);
        if (event.$case === "alarmRaised") alarms.push(event.value.reason);
      },
      beginAnnouncements,
      rule,
      released: () => void done.push("released"),
    },
    step(guest),
  );
  const vmmSays = (event: Partial<VmmEvent>) =>
    runner.hearVmm({ atUnixUs: now, receivedAtUnixUs: now, ...event } as VmmEvent);
  const setRunState = (state: string) => {
    runState = state;
  };
  return { runner, done, told, announced, alarms, timers, vmmSays, setRunState };
}

const FRAMES: SentFrames = { reverseArp: 1, arp: 2, neighbourAdvertisements: 3 };

/** What an agent announces by itself, with its rounds done when the test says so. */
function ownAnnouncements() {
  const own = {
    log: [] as string[],
    heard: "some" as "all" | "some",
    firstFrames: [] as readonly FirstFrameSeen[],
    done: undefined as ((sent: SentFrames) => void) | undefined,
    end: () => void own.log.push("end"),
    begin: (): AnnouncementRun => ({
      announce: (done) => {
        own.log.push("announce");
        own.done = done;
      },
      heard: () => own.heard,
      firstFrames: () => own.firstFrames,
      end: () => own.end(),
    }),
  };
  return own;
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** As QEMU tells it of a live source, to the point of no return. */
async function switchesOver(gate: ReturnType<typeof benchedGate>): Promise<void> {
  gate.setRunState("finish-migrate");
  gate.vmmSays({ kind: "stop" });
  await nextTurn();
  gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
}

describe("the runner of a guest's gate", () => {
  it("has deregistered when the handler of STOP returns, before anything was asked of the VMM", () => {
    const gate = benchedGate(armedGuest("live", "completed"));
    gate.vmmSays({ kind: "stop" });
    assert.deepEqual(gate.done, ["deregister", "query-status"]);
  });

  it("journals the word and only then publishes it", async () => {
    const gate = benchedGate(armedGuest("live", "completed"));
    await switchesOver(gate);
    assert.deepEqual(gate.done.slice(2), ["journal handedOff", "publish word"]);
  });

  it("does not say what it could not journal, still holds the right to run, and raises an alarm", async () => {
    const gate = benchedGate(armedGuest("live", "completed"), { journal: "full" });
    await switchesOver(gate);
    assert.ok(!gate.done.includes("publish word"));
    assert.equal(gate.runner.guest.role.kind, "outgoing");
    assert.deepEqual(gate.alarms, ["JOURNAL_UNWRITABLE"]);
  });

  it("says it as soon as the journal has room again", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(armedGuest("live", "completed"), faults);
    await switchesOver(gate);
    gate.timers.at(-1)?.fire();
    await nextTurn();
    assert.ok(!gate.done.includes("publish word"));
    faults.journal = "roomy";
    gate.timers.at(-1)?.fire();
    await nextTurn();
    assert.deepEqual(gate.done.slice(-3), ["query-status", "journal handedOff", "publish word"]);
    assert.deepEqual(gate.alarms, ["JOURNAL_UNWRITABLE"]);
  });

  it("asks its VMM before it says it late: what was started meanwhile, unheard, stays", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(armedGuest("live", "completed"), faults);
    await switchesOver(gate);
    faults.journal = "roomy";
    gate.setRunState("running");
    gate.timers.at(-1)?.fire();
    // QEMU tells of the start before it answers.
    gate.vmmSays({ kind: "resume" });
    await nextTurn();
    assert.ok(!gate.done.includes("publish word"));
    assert.equal(gate.runner.guest.role.kind, "resident");
  });

  it("keeps a guest that ran on before its word was taken: what the destination has is older", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(armedGuest("live", "completed"), faults);
    await switchesOver(gate);
    gate.vmmSays({ kind: "resume" });
    assert.equal(gate.runner.guest.registration, "registered");
    gate.vmmSays({ kind: "stop" });
    assert.equal(gate.runner.guest.registration, "quarantined");
    await nextTurn();
    assert.equal(gate.timers.length, 1);
    faults.journal = "roomy";
    gate.timers[0]?.fire();
    assert.deepEqual(gate.done.slice(-1), ["journal kept"]);
    assert.ok(!gate.done.includes("publish word"));
    assert.equal(gate.runner.guest.role.kind, "resident");
  });

  it("tells what happened once, however often its word is tried again", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(incomingGuest("live"), faults);
    gate.setRunState("paused");
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    for (let again = 0; again < 3; again += 1) gate.timers.at(-1)?.fire();
    faults.journal = "roomy";
    gate.timers.at(-1)?.fire();
    assert.deepEqual(gate.done.slice(-2), ["journal contSent", "cont"]);
    for (const once of ["handOffReceived", "transferStatusChanged", "destinationReady"]) {
      assert.equal(gate.told.filter((name) => name === once).length, 1, once);
    }
  });

  it("registers nothing again and again while the disk is full", async () => {
    const gate = benchedGate(incomingGuest("live"), { journal: "full" });
    gate.setRunState("paused");
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    for (let again = 0; again < 10; again += 1) gate.timers.at(-1)?.fire();
    assert.equal(gate.done.filter((done) => done === "register").length, 1);
    assert.equal(gate.runner.guest.registration, "quarantined");
  });

  it("starts a guest for its owner only once the journal has that it stays", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(armedGuest("live", "completed", "paused"), faults);
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "cancelled", status: "cancelled" });
    const start = { kind: "startOrdered", atUnixUs: 1 } as const;
    assert.throws(() => gate.runner.order(start), { reason: "JOURNAL_UNWRITABLE" });
    assert.equal(gate.runner.guest.role.kind, "outgoing");
    faults.journal = "roomy";
    gate.runner.order(start);
    assert.deepEqual(gate.done.slice(-3), ["journal kept", "register", "cont"]);
  });

  it("does not start a guest that it gave up, with only the journal yet to take that", async () => {
    const faults: { journal: "full" | "roomy" } = { journal: "full" };
    const gate = benchedGate(incomingGuest("live"), faults);
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "failed", status: "failed" });
    gate.setRunState("paused");
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    assert.ok(!gate.done.includes("cont"));
    assert.equal(gate.runner.guest.registration, "quarantined");
    faults.journal = "roomy";
    for (const { fire } of [...gate.timers]) fire();
    assert.deepEqual(gate.done.slice(-2), ["journal handedBack", "quit"]);
  });

  it("refuses an order that it cannot journal, with nothing changed nor told", () => {
    const gate = benchedGate(vacantGuest(), { journal: "full" });
    const order = {
      kind: "destinationPrepared",
      atUnixUs: 1,
      fence: FENCE,
      migrationId: MIGRATION,
      mode: "live",
      sourceHostId: SOURCE,
      bootId: "boot-1",
    } as const;
    assert.throws(() => gate.runner.order(order), { code: "UNAVAILABLE", reason: "JOURNAL_UNWRITABLE" });
    assert.equal(gate.runner.guest.role.kind, "vacant");
    assert.deepEqual(gate.runner.guest.fence, { epoch: 0n, revision: 0n });
    assert.deepEqual(gate.told, []);
  });

  it("registers, journals and starts in one turn once the last condition is met", async () => {
    const gate = benchedGate(incomingGuest("live"));
    gate.setRunState("paused");
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    gate.done.length = 0;
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    assert.deepEqual(gate.done, ["register", "journal contSent", "cont"]);
  });

  it("does not start a guest whose `cont` could not be journaled", async () => {
    const gate = benchedGate(incomingGuest("live"), { journal: "full" });
    gate.setRunState("paused");
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    assert.ok(!gate.done.includes("cont"));
    assert.deepEqual(gate.alarms, ["JOURNAL_UNWRITABLE"]);
  });

  it("does not start a guest whose NICs were refused", async () => {
    const gate = benchedGate(incomingGuest("live"), { start: { ok: false, sentence: "net0: no bridge" } });
    gate.setRunState("paused");
    gate.vmmSays({ kind: "migrationStatusChanged", statusText: "completed", status: "completed" });
    await nextTurn();
    gate.runner.hearHandOff(handOff(), HandOffRoute.NATS);
    assert.ok(!gate.done.includes("cont"));
    assert.deepEqual(gate.alarms, ["REGISTRATION_REFUSED"]);
  });

  it("announces at 0, 50, 150, 350 and 750 ms after RESUME, and no more after a stop", () => {
    const gate = benchedGate(residentGuest("running"));
    gate.vmmSays({ kind: "resume" });
    assert.deepEqual(gate.done, ["announce-self"]);
    assert.deepEqual(
      gate.timers.map(({ delayMs }) => delayMs),
      [50, 150, 350, 750],
    );
    gate.vmmSays({ kind: "stop" });
    assert.deepEqual(gate.timers, []);
  });

  it("tells each round with what the agent itself sent, and the last as the schedule's end", () => {
    const own = ownAnnouncements();
    const gate = benchedGate(residentGuest("running"), {}, own.begin);
    gate.vmmSays({ kind: "resume" });
    assert.deepEqual(gate.announced, [], "not before the frames have left");
    own.done?.(FRAMES);
    while (gate.timers.length > 0) {
      gate.timers.shift()?.fire();
      own.done?.(FRAMES);
    }
    assert.deepEqual(
      gate.announced.map(({ endedBy, frames, round }) => ({ endedBy, frames, round })),
      [1, 2, 3, 4, 5].map((round) => ({
        endedBy: round === 5 ? AnnouncementsEndedBy.SCHEDULE : undefined,
        frames: FRAMES,
        round,
      })),
    );
    assert.equal(own.log.at(-1), "end");
  });

  it("tells of each NIC's first frame once, with the next announcement", () => {
    const own = ownAnnouncements();
    const gate = benchedGate(residentGuest("running"), {}, own.begin);
    gate.vmmSays({ kind: "resume" });
    own.done?.(FRAMES);
    const [first, second] = [
      { nicId: "net0", atUnixUs: 70 },
      { nicId: "net1", atUnixUs: 90 },
    ];
    for (const seen of [[first], [first, second], [first, second]]) {
      own.firstFrames = seen as typeof own.firstFrames;
      gate.timers.shift()?.fire();
      own.done?.(FRAMES);
    }
    assert.deepEqual(
      gate.announced.map(({ firstFrames }) =>
        firstFrames.map(({ nicId, atUnixUs }) => `${nicId} ${atUnixUs}`),
      ),
      [[], ["net0 70"], ["net1 90"], []],
    );
  });

  it("announces no more once the guest is heard, neither by itself nor by the VMM, and says why", () => {
    const own = ownAnnouncements();
    const gate = benchedGate(residentGuest("running"), {}, own.begin);
    gate.vmmSays({ kind: "resume" });
    own.done?.(FRAMES);
    own.heard = "all";
    own.firstFrames = [{ nicId: "net0", atUnixUs: 77 }];
    gate.timers.shift()?.fire();
    assert.deepEqual(own.log, ["announce", "end"]);
    assert.deepEqual(gate.done, ["announce-self"]);
    assert.deepEqual(gate.timers, []);
    const { announcedAtUnixUs: _at, ...told } = gate.announced.at(-1) ?? { announcedAtUnixUs: 0n };
    assert.deepEqual(told, {
      round: 2,
      endedBy: AnnouncementsEndedBy.EVIDENCE,
      firstFrames: [{ nicId: "net0", atUnixUs: 77n }],
    });
  });

  it("announces no more once the CPUs have stopped, also where the guest stays registered", () => {
    const own = ownAnnouncements();
    const stayRegistered: typeof evolve = (guest, event) => {
      const { operations, ...next } = evolve(guest, event);
      return { ...next, operations: operations.filter(({ kind }) => kind !== "deregisterNics") };
    };
    const gate = benchedGate(residentGuest("running"), {}, own.begin, stayRegistered);
    gate.vmmSays({ kind: "resume" });
    gate.vmmSays({ kind: "stop" });
    assert.ok(!gate.done.includes("deregister"));
    assert.deepEqual(own.log, ["announce", "end"]);
    assert.deepEqual(gate.timers, []);
  });

  it("lets no frame of its own leave once the CPUs have stopped, before the devices are deregistered", () => {
    const own = ownAnnouncements();
    const gate = benchedGate(residentGuest("running"), {}, own.begin);
    own.end = () => {
      gate.done.push("end announcements");
      own.done?.({ ...FRAMES, arp: 0 });
    };
    gate.vmmSays({ kind: "resume" });
    gate.vmmSays({ kind: "stop" });
    assert.deepEqual(gate.done.slice(1, 3), ["end announcements", "deregister"]);
    assert.deepEqual(
      gate.announced.map(({ frames }) => frames?.arp),
      [0],
      "the round that was cut short is told",
    );
  });

  it("ends a wait at its deadline with what was waited for", async () => {
    const gate = benchedGate(residentGuest("running"));
    const waiting = gate.runner.waitUntil(({ cpus }) => cpus.kind === "stopped", 10, "the CPUs to stop");
    gate.timers[0]?.fire();
    await assert.rejects(waiting, { reason: "STILL_WAITING", message: /the CPUs to stop/ });
  });
});
