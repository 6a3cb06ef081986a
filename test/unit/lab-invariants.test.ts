import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type InvariantName,
  judgeRun,
  measureSwitchover,
  type WitnessedRun,
} from "../lab/witness/invariants.ts";
import type { FdbRecord, QmpRecord } from "../lab/witness/records.ts";

const MAC = "52:54:00:12:34:56";
const SECOND_MAC = "52:54:00:12:34:57";
const SOURCE = { instance: "ha-1", host: "ha", nics: [{ tap: "tap0", mac: MAC }] };
const DESTINATION = { instance: "hb-2", host: "hb", nics: [{ tap: "tap0", mac: MAC }] };
const STOP_US = 1_000_000;
const RESUME_US = 1_008_000;
const END_US = 2_000_000;

function fdb(host: string, atUnixUs: number, change: FdbRecord["change"], extra: Partial<FdbRecord> = {}) {
  return {
    ...{ host, atUnixUs, change, mac: MAC, dev: "tap0", bridge: "br0", vlan: undefined },
    ...({ state: "static", sticky: "sticky" } as const),
    ...extra,
  };
}

function event(instance: string, atUnixUs: number, name: string, status?: string): QmpRecord {
  const data = status === undefined ? {} : { status };
  return { instance, host: instance.slice(0, 2), atUnixUs, fact: { kind: "event", name, data } };
}

function firstStatus(instance: string, atUnixUs: number, running: boolean): QmpRecord {
  const status = running ? "running" : "inmigrate";
  return { instance, host: instance.slice(0, 2), atUnixUs, fact: { kind: "first-status", running, status } };
}

const SOUND_FDB = [
  fdb("ha", 0, "present"),
  fdb("ha", STOP_US + 300, "deleted"),
  fdb("hb", RESUME_US - 500, "set"),
];
const SOUND_QMP = [
  firstStatus("ha-1", 10, true),
  firstStatus("hb-2", 500_000, false),
  event("ha-1", STOP_US, "STOP"),
  event("hb-2", RESUME_US, "RESUME"),
];
const BEATS = [
  { seq: 1, host: "ha", guestUptimeSeconds: 3 },
  { seq: 2, host: "hb", guestUptimeSeconds: 3.1 },
];

function run(changes: Partial<WitnessedRun> = {}): WitnessedRun {
  return {
    instances: [SOURCE, DESTINATION],
    fdb: SOUND_FDB,
    qmp: SOUND_QMP,
    disk: BEATS,
    window: { fromUnixUs: 0, toUnixUs: END_US },
    ...changes,
  };
}

function violated(judged: WitnessedRun): InvariantName[] {
  return judgeRun(judged).flatMap(({ invariant, result }) => (result === "violated" ? [invariant] : []));
}

test("a sound migration violates nothing and costs no duplicate and no early entry", () => {
  assert.deepEqual(violated(run()), []);
  assert.deepEqual(measureSwitchover(run(), "ha-1", "hb-2"), {
    duplicateUs: 0,
    earlyUs: 0,
    registeredBeforeResume: "yes",
    stopToDeregisteredUs: 300,
    stopToResumeUs: 8_000,
    stopAtUnixUs: 1_000_000,
    resumeAtUnixUs: 1_008_000,
  });
});

test("all five verdicts are given, in order, each with its sentences", () => {
  const verdicts = judgeRun(run({ fdb: [] }));
  assert.deepEqual(
    verdicts.map(({ invariant }) => invariant),
    ["I1", "I2", "I3", "I4", "I5"],
  );
  assert.match(
    verdicts[1]?.violations[0] ?? "",
    /hb-2 started at 1008000 with 52:54:00:12:34:56 not registered/,
  );
});

test("I1 and I3 are violated by an entry added at the destination while the source still runs", () => {
  const early = run({
    fdb: [fdb("ha", 0, "present"), fdb("ha", STOP_US + 300, "deleted"), fdb("hb", 600_000, "set")],
  });
  assert.deepEqual(violated(early), ["I1", "I3"]);
  const figures = measureSwitchover(early, "ha-1", "hb-2");
  assert.equal(figures.duplicateUs, 400_300);
  assert.equal(figures.earlyUs, 400_000);
});

test("I2 is violated by CPUs that start before the entry is set", () => {
  const late = run({ fdb: [...SOUND_FDB.slice(0, 2), fdb("hb", RESUME_US + 1, "set")] });
  assert.deepEqual(violated(late), ["I2"]);
  assert.equal(measureSwitchover(late, "ha-1", "hb-2").registeredBeforeResume, "no");
});

test("I2 and I5 are violated when one of two NICs is never registered", () => {
  const twoNics = { ...DESTINATION, nics: [...DESTINATION.nics, { tap: "tap1", mac: SECOND_MAC }] };
  const judged = run({ instances: [SOURCE, twoNics] });
  assert.deepEqual(violated(judged), ["I2", "I5"]);
  assert.equal(measureSwitchover(judged, "ha-1", "hb-2").registeredBeforeResume, "no");
});

test("I3 is violated by an entry that outlives its CPUs by more than the bound", () => {
  const slow = run({
    fdb: [fdb("ha", 0, "present"), fdb("ha", STOP_US + 5_000, "deleted"), fdb("hb", RESUME_US - 500, "set")],
  });
  assert.deepEqual(violated(slow), ["I3"]);
  assert.equal(measureSwitchover(slow, "ha-1", "hb-2").stopToDeregisteredUs, 5_000);
});

test("I3 holds for an entry that is taken back within the bound, since its start did not come about", () => {
  const takenBack = (afterUs: number) =>
    run({
      fdb: [
        ...SOUND_FDB.slice(0, 2),
        fdb("hb", STOP_US + 100_000, "set"),
        fdb("hb", STOP_US + 100_000 + afterUs, "deleted"),
        fdb("hb", 1_800_000, "set"),
      ],
      qmp: [...SOUND_QMP.slice(0, 3), event("hb-2", 1_800_500, "RESUME")],
    });
  assert.deepEqual(violated(takenBack(1_900)), []);
  assert.deepEqual(violated(takenBack(2_100)), ["I3"]);
});

test("I3 is violated by an entry on the tap of a QEMU that is gone", () => {
  const gone = run({
    instances: [SOURCE],
    fdb: [fdb("ha", 0, "present")],
    qmp: [firstStatus("ha-1", 10, true), { ...firstStatus("ha-1", STOP_US, false), fact: { kind: "gone" } }],
  });
  assert.deepEqual(violated(gone), ["I3"]);
});

test("I4 is violated by two QEMUs whose CPUs run at once", () => {
  const both = run({
    qmp: [...SOUND_QMP, event("ha-1", RESUME_US + 1_000, "RESUME")],
    fdb: [...SOUND_FDB],
  });
  assert.ok(violated(both).includes("I4"));
});

test("I4 is violated by one beat that two hosts wrote to the shared disk", () => {
  const twice = run({ disk: [...BEATS, { seq: 2, host: "ha", guestUptimeSeconds: 3.1 }] });
  assert.deepEqual(violated(twice), ["I4"]);
});

test("I5 is violated by an entry that a frame moved to the uplink under a running guest", () => {
  const stolen = run({ fdb: [...SOUND_FDB, fdb("hb", RESUME_US + 100_000, "set", { dev: "uplink" })] });
  assert.deepEqual(violated(stolen), ["I5"]);
});

test("I5 holds when a lost entry is back within the repair bound", () => {
  const repaired = run({
    fdb: [...SOUND_FDB, fdb("hb", RESUME_US + 100_000, "deleted"), fdb("hb", RESUME_US + 104_000, "set")],
  });
  assert.deepEqual(violated(repaired), []);
});

test("a learned entry is no registration", () => {
  const learned = run({
    fdb: [...SOUND_FDB.slice(0, 2), fdb("hb", RESUME_US - 500, "set", { state: "dynamic" })],
  });
  assert.deepEqual(violated(learned), ["I2", "I5"]);
});

test("an entry of the MAC on another bridge of the host does not end the registration", () => {
  const elsewhere = fdb("hb", RESUME_US + 1_000, "deleted", { bridge: "br1", dev: "other" });
  assert.deepEqual(violated(run({ fdb: [...SOUND_FDB, elsewhere] })), []);
});

test("a source that QEMU resumed by itself may be registered within the rollback bound", () => {
  const rollback = (registeredUs: number) =>
    run({
      qmp: [
        firstStatus("ha-1", 10, true),
        firstStatus("hb-2", 500_000, false),
        event("ha-1", STOP_US, "STOP"),
        event("ha-1", STOP_US + 7_000, "MIGRATION", "failed"),
        event("ha-1", STOP_US + 7_100, "RESUME"),
      ],
      fdb: [...SOUND_FDB.slice(0, 2), fdb("ha", STOP_US + 7_100 + registeredUs, "set")],
    });
  assert.deepEqual(violated(rollback(4_900)), []);
  assert.deepEqual(violated(rollback(5_100)), ["I2", "I5"]);
});

test("a guest that goes back to a host on the same tap in a new QEMU violates nothing", () => {
  const back = { instance: "ha-3", host: "ha", nics: SOURCE.nics };
  const judged = run({
    instances: [SOURCE, DESTINATION, back],
    qmp: [
      ...SOUND_QMP,
      { ...firstStatus("ha-1", 1_200_000, false), fact: { kind: "gone" } },
      firstStatus("ha-3", 1_300_000, false),
      event("hb-2", 1_500_000, "STOP"),
      event("ha-3", 1_506_000, "RESUME"),
    ],
    fdb: [...SOUND_FDB, fdb("hb", 1_500_200, "deleted"), fdb("ha", 1_505_000, "set")],
  });
  assert.deepEqual(violated(judged), []);
  assert.equal(measureSwitchover(judged, "hb-2", "ha-3").stopToResumeUs, 6_000);
});

test("figures of a migration that never switched say what is missing", () => {
  const figures = measureSwitchover(
    run({ qmp: SOUND_QMP.slice(0, 2), fdb: SOUND_FDB.slice(0, 1) }),
    "ha-1",
    "hb-2",
  );
  assert.equal(figures.stopToResumeUs, undefined);
  assert.equal(figures.stopToDeregisteredUs, undefined);
  assert.equal(figures.registeredBeforeResume, "no");
});

test("bounds do not count while the host's agent is absent, and count again from its start", () => {
  const killed = { host: "ha", fromUnixUs: STOP_US - 100, toUnixUs: STOP_US + 500_000 };
  const deregistered = (afterStartUs: number, absence = killed) =>
    run({
      fdb: [
        fdb("ha", 0, "present"),
        fdb("ha", killed.toUnixUs + afterStartUs, "deleted"),
        fdb("hb", 1_800_000, "set"),
      ],
      qmp: [...SOUND_QMP.slice(0, 3), event("hb-2", 1_800_500, "RESUME")],
      absences: [absence],
    });
  assert.deepEqual(violated(deregistered(1_500)), []);
  assert.deepEqual(violated(deregistered(2_500)), ["I3"]);
  assert.deepEqual(violated(deregistered(1_500, { ...killed, host: "hb" })), ["I3"]);
});

test("an agent that was stopped between registration and start is not blamed for the wait", () => {
  const set = RESUME_US - 300_000;
  const stopped = (registeredBeforeUs: number) =>
    run({
      fdb: [...SOUND_FDB.slice(0, 1), fdb("ha", STOP_US - 400_000, "deleted"), fdb("hb", set, "set")],
      qmp: [
        ...SOUND_QMP.slice(0, 2),
        event("ha-1", STOP_US - 400_200, "STOP"),
        event("hb-2", RESUME_US, "RESUME"),
      ],
      absences: [{ host: "hb", fromUnixUs: set + registeredBeforeUs, toUnixUs: RESUME_US - 1_000 }],
    });
  assert.deepEqual(violated(stopped(600)), []);
  assert.deepEqual(violated(stopped(60_000)), ["I3"]);
});

test("an absent agent excuses no second registration and no second running copy", () => {
  const absences = [{ host: "ha", fromUnixUs: 0, toUnixUs: END_US }];
  const both = run({
    fdb: [fdb("ha", 0, "present"), fdb("hb", RESUME_US - 500, "set")],
    qmp: [...SOUND_QMP, event("ha-1", RESUME_US + 1_000, "RESUME")],
    absences,
  });
  assert.deepEqual(violated(both), ["I1", "I4"]);
});

test("a guest that QEMU resumed while its agent was absent is registered within the bound of the agent's start", () => {
  const absence = { host: "ha", fromUnixUs: STOP_US + 6_000, toUnixUs: STOP_US + 400_000 };
  const registered = (afterStartUs: number) =>
    run({
      qmp: [
        firstStatus("ha-1", 10, true),
        firstStatus("hb-2", 500_000, false),
        event("ha-1", STOP_US, "STOP"),
        event("ha-1", STOP_US + 7_000, "MIGRATION", "failed"),
        event("ha-1", STOP_US + 7_100, "RESUME"),
      ],
      fdb: [...SOUND_FDB.slice(0, 2), fdb("ha", absence.toUnixUs + afterStartUs, "set")],
      absences: [absence],
    });
  assert.deepEqual(violated(registered(4_900)), []);
  assert.deepEqual(violated(registered(5_100)), ["I2", "I5"]);
});
