import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { receiptOf } from "../../coordinator/inventory/receipt.ts";
import { clockBehindUs, switchoverSpans } from "../../coordinator/inventory/switchover-spans.ts";
import { InventoryApi } from "../../coordinator/inventory-api.ts";
import { newMigrationState, withMigration } from "../../coordinator/migration/complete-state.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import {
  type ClockOffset,
  type Instant,
  InstantKind,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { SpanKind, spanKindToJSON } from "../../proto/gen/switchover/v1/receipt.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import { MemoryCatalogue } from "./coordinator-memory-catalogue.ts";
import { MIGRATION_ID, specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const T0 = 1_795_456_900_000_000n;

const SOURCE: readonly (readonly [InstantKind, bigint])[] = [
  [InstantKind.STOPPED, 0n],
  [InstantKind.STOP_RECEIVED, 40n],
  [InstantKind.DEREGISTERED, 400n],
  [InstantKind.HANDED_OFF, 2_300n],
];
const DESTINATION: readonly (readonly [InstantKind, bigint])[] = [
  [InstantKind.HAND_OFF_RECEIVED, 2_900n],
  [InstantKind.REGISTERED, 3_300n],
  [InstantKind.READY, 4_100n],
  [InstantKind.CONT_SENT, 4_150n],
  [InstantKind.RESUMED, 4_400n],
  [InstantKind.ANNOUNCED, 4_900n],
];

function instantsWith(destinationClockUs: bigint, destinationHostId = "hb"): Instant[] {
  return [
    ...SOURCE.map(([kind, atUs]) => ({ kind, hostId: "ha", atUnixUs: T0 + atUs, round: 0, nicId: "" })),
    ...DESTINATION.map(([kind, atUs]) => ({
      kind,
      hostId: destinationHostId,
      atUnixUs: T0 + atUs + destinationClockUs,
      round: 0,
      nicId: "",
    })),
  ];
}

function spansOf(instants: readonly Instant[], offset?: ClockOffset): Record<string, bigint> {
  const nameOf = (kind: SpanKind) => Object.keys(SpanKind).find((name) => SpanKind[name as "ADDED"] === kind);
  return Object.fromEntries(
    switchoverSpans(instants, offset).map(({ kind, durationUs }) => [nameOf(kind), durationUs]),
  );
}

const TRUE_SPANS = {
  BLACKOUT: 4_400n,
  DEREGISTRATION: 360n,
  HAND_OFF: 600n,
  REGISTRATION: 400n,
  UNREGISTERED: 2_900n,
  START: 50n,
  ADDED: 300n,
  ANNOUNCEMENT: 500n,
};

describe("the spans of a switchover", () => {
  it("are the times between its instants", () => {
    assert.deepEqual(spansOf(instantsWith(0n)), TRUE_SPANS);
    const across = switchoverSpans(instantsWith(0n))
      .filter(({ acrossClocks }) => acrossClocks)
      .map(({ kind }) => kind);
    assert.deepEqual(across, [SpanKind.BLACKOUT, SpanKind.HAND_OFF, SpanKind.UNREGISTERED]);
  });

  it("are corrected where the word seems to arrive before it left, and never within one clock", () => {
    // How long the word took (600 us) cannot be told from what the clocks differ by.
    assert.deepEqual(spansOf(instantsWith(-1_000_000n)), {
      ...TRUE_SPANS,
      BLACKOUT: 4_400n - 600n,
      HAND_OFF: 0n,
      UNREGISTERED: 2_900n - 600n,
    });
    const oneHost = instantsWith(-1_000n, "ha");
    assert.equal(spansOf(oneHost).HAND_OFF, -400n);
    assert.ok(switchoverSpans(oneHost).every(({ acrossClocks }) => !acrossClocks));
  });

  it("are only those whose instants are known", () => {
    const paused = instantsWith(0n).filter(({ kind }) =>
      [InstantKind.HANDED_OFF, InstantKind.HAND_OFF_RECEIVED].includes(kind as 4 | 5),
    );
    assert.deepEqual(spansOf(paused), { HAND_OFF: 600n });
    assert.deepEqual(spansOf([]), {});
    const notReady = instantsWith(0n).filter(({ kind }) => kind !== InstantKind.READY);
    assert.equal(spansOf(notReady).START, undefined);
  });
});

describe("spans across clocks that were compared", () => {
  const offsetOf = (destinationAheadUs: bigint) => ({
    destinationAheadUs,
    errorUs: 150n,
    measuredAtUnixUs: T0 - 20_000_000n,
    roundTrips: 4,
  });

  it("are the true ones, whether the destination's clock is ahead or behind", () => {
    for (const aheadUs of [-3_000_000n, -151n, 0n, 250n, 3_000_000n]) {
      const instants = instantsWith(aheadUs);
      const spans = switchoverSpans(instants, offsetOf(aheadUs));
      for (const { kind, durationUs } of spans) {
        const name = spanKindToJSON(kind).replace("SPAN_KIND_", "") as keyof typeof TRUE_SPANS;
        assert.equal(durationUs, TRUE_SPANS[name], `${name} at ${aheadUs}`);
      }
      assert.equal(clockBehindUs(instants, offsetOf(aheadUs)), 0n);
    }
  });

  it("are those of the clocks as they are where these may agree", () => {
    for (const aheadUs of [-150n, 150n]) {
      assert.deepEqual(spansOf(instantsWith(0n), offsetOf(aheadUs)), TRUE_SPANS);
    }
  });

  it("say within what they are right: the offset's error, and what clocks may drift since", () => {
    for (const { kind, acrossClocks, errorUs } of switchoverSpans(instantsWith(250n), offsetOf(250n))) {
      // 15 ppm of the 20 s since it was measured, and nothing within one clock.
      assert.equal(errorUs, acrossClocks ? 450n : undefined, spanKindToJSON(kind));
    }
    const uncompared = switchoverSpans(instantsWith(0n));
    assert.ok(uncompared.some(({ acrossClocks }) => acrossClocks));
    for (const { errorUs } of uncompared) assert.equal(errorUs, undefined);
  });

  it("are corrected by the source's word where that shows more than was measured", () => {
    const instants = instantsWith(-1_000n);
    assert.equal(clockBehindUs(instants, offsetOf(0n)), 400n);
    assert.equal(clockBehindUs(instants, offsetOf(-1_000n)), 0n);
  });
});

describe("the time with a MAC on both hosts, and that of a silent guest", () => {
  const at = (kind: InstantKind, hostId: string, atUs: bigint, nicId = ""): Instant => ({
    kind,
    hostId,
    atUnixUs: T0 + atUs,
    round: 0,
    nicId,
  });
  const spanOf = (instants: readonly Instant[], wanted: SpanKind) =>
    switchoverSpans(instants).find(({ kind }) => kind === wanted)?.durationUs;

  it("is none where the source deregistered before the destination registered, else so long as it may be", () => {
    for (const [sentUs, duplicateUs] of [
      [3_000n, 0n],
      [400n, 0n],
      [150n, 250n],
    ] as const) {
      const instants = [...instantsWith(0n), at(InstantKind.REGISTRATION_SENT, "hb", sentUs)];
      assert.equal(spanOf(instants, SpanKind.DUPLICATE), duplicateUs);
    }
    assert.equal(spanOf(instantsWith(0n), SpanKind.DUPLICATE), undefined);
  });

  it("lasts until the last NIC's first frame", () => {
    const frames = [
      at(InstantKind.FIRST_FRAME, "hb", 5_100n, "net1"),
      at(InstantKind.FIRST_FRAME, "hb", 7_000n, "net0"),
    ];
    assert.equal(spanOf([...instantsWith(0n), ...frames], SpanKind.SILENCE), 7_000n);
    assert.equal(spanOf(instantsWith(0n), SpanKind.SILENCE), undefined);
  });
});

describe("a receipt", () => {
  const spec = specOf({ labels: { team: "blue" } });
  const begun = newMigrationState(MIGRATION_ID, "r1", spec, { epoch: 3n, revision: 9n }, T0);

  it("says who asked for what, how it ended, and how long each phase lasted", () => {
    const ended = withMigration(begun, {
      phase: Phase.FAILED,
      outcome: Outcome.RUNS_ON_SOURCE,
      reason: "The transfer stalled.",
      reasonCode: "STALLED",
      phases: [
        { phase: Phase.PENDING, atUnixUs: T0, reason: "" },
        { phase: Phase.ROLLING_BACK, atUnixUs: T0 + 70n, reason: "The transfer stalled." },
        { phase: Phase.FAILED, atUnixUs: T0 + 100n, reason: "The transfer stalled." },
      ],
    });
    const receipt = receiptOf({ ...ended, source: { ...ended.source, instanceId: "a1" } });
    assert.deepEqual(
      receipt.phases.map(({ phase, durationUs }) => [phase, durationUs]),
      [
        [Phase.PENDING, 70n],
        [Phase.ROLLING_BACK, 30n],
        [Phase.FAILED, 0n],
      ],
    );
    assert.deepEqual(
      { ...receipt, phases: [] },
      {
        migrationId: MIGRATION_ID,
        requestId: "r1",
        guestId: "web-7",
        source: { hostId: "ha", instanceId: "a1" },
        destination: { hostId: "hb", instanceId: "" },
        mode: spec.mode,
        labels: { team: "blue" },
        epoch: 3n,
        phase: Phase.FAILED,
        outcome: Outcome.RUNS_ON_SOURCE,
        reason: "The transfer stalled.",
        reasonCode: "STALLED",
        requestedAtUnixUs: T0,
        endedAtUnixUs: T0 + 100n,
        phases: [],
        instants: [],
        spans: [],
        transfer: undefined,
        destinationClockBehindUs: 0n,
        clockOffset: undefined,
        requestedBy: undefined,
        retries: [],
        nics: [],
        destinationMovedByUs: 0n,
      },
    );
  });

  it("has each NIC with its own instants beside those of all, and no registration of one that needs none", () => {
    const nicOf = (nicId: string, sourceDevice: string) => ({
      nicId,
      macAddress: "52:54:00:00:00:01",
      sourceDevice,
      destinationDevice: sourceDevice,
    });
    const frame = (nicId: string, atUs: bigint): Instant => ({
      kind: InstantKind.FIRST_FRAME,
      hostId: "hb",
      atUnixUs: T0 + atUs,
      round: 0,
      nicId,
    });
    const ended = withMigration(begun, {
      phase: Phase.COMPLETED,
      instants: [...instantsWith(0n), frame("net0", 5_000n), frame("net1", 6_000n)],
      nics: [nicOf("net0", "tap_on_bridge"), nicOf("net1", "unmanaged")],
    });
    const { nics } = receiptOf(ended);
    assert.deepEqual(
      nics.map(({ nic, spans }) => [
        nic?.nicId,
        spans.map((span) => [spanKindToJSON(span.kind), span.durationUs]),
      ]),
      [
        [
          "net0",
          [
            ["SPAN_KIND_UNREGISTERED", 2_900n],
            ["SPAN_KIND_SILENCE", 5_000n],
          ],
        ],
        ["net1", [["SPAN_KIND_SILENCE", 6_000n]]],
      ],
    );
    for (const { instants } of nics) assert.equal(instants.length, instantsWith(0n).length + 1);
  });

  it("is there from the end on, the same while the record holds the migration and when the history does", async (t) => {
    const world = new World();
    t.after(() => world.close());
    const { store, clock } = world;
    const runner = world.startRunner();
    const hosts = { get: async (hostId: string) => HostRecord.create({ hostId }) };
    const api = new MigrationApi({
      store,
      clock,
      random: () => 0.5,
      hosts,
      agents: world.hosts,
      runner,
      admission: OPEN_DOOR,
      draining: new DrainingHosts(),
      moveBudget: null,
    });
    const noHosts = { hosts: () => assert.fail(), host: () => assert.fail() };
    const inventory = new InventoryApi({
      catalogue: new MemoryCatalogue(),
      hosts: noHosts,
      store,
      admission: OPEN_DOOR,
      clock,
    });
    world.hosts.moves = "when told";
    const { migration } = await api.startMigration({ requestId: "r1", spec: specOf(), validateOnly: false });
    const migrationId = migration?.migrationId ?? "";
    await world.untilPhase("web-7", "TRANSFERRING");
    await assert.rejects(inventory.getReceipt({ migrationId }), {
      code: "FAILED_PRECONDITION",
      reason: "NOT_ENDED",
      field: "migration_id",
    });
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    const { receipt } = await inventory.getReceipt({ migrationId });
    assert.deepEqual([receipt?.phase, receipt?.outcome], [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION]);
    assert.ok(receipt?.spans.some(({ kind }) => kind === SpanKind.BLACKOUT));
    clock.advance(1);
    await api.startMigration({ requestId: "r2", spec: specOf(), validateOnly: false });
    assert.deepEqual((await inventory.getReceipt({ migrationId })).receipt, receipt);
    await assert.rejects(inventory.getReceipt({ migrationId: "web-7-000000000000" }), {
      code: "NOT_FOUND",
      reason: "MIGRATION_UNKNOWN",
    });
    await assert.rejects(inventory.getReceipt({ migrationId: "web-7" }), {
      code: "INVALID_ARGUMENT",
      field: "migration_id",
    });
  });
});
