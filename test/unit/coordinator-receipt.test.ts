import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { receiptOf } from "../../coordinator/inventory/receipt.ts";
import { switchoverSpans } from "../../coordinator/inventory/switchover-spans.ts";
import { InventoryApi } from "../../coordinator/inventory-api.ts";
import { newMigrationState, withMigration } from "../../coordinator/migration/complete-state.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import { type Instant, InstantKind, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
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
    ...SOURCE.map(([kind, atUs]) => ({ kind, hostId: "ha", atUnixUs: T0 + atUs })),
    ...DESTINATION.map(([kind, atUs]) => ({
      kind,
      hostId: destinationHostId,
      atUnixUs: T0 + atUs + destinationClockUs,
    })),
  ];
}

function spansOf(instants: readonly Instant[]): Record<string, bigint> {
  const nameOf = (kind: SpanKind) => Object.keys(SpanKind).find((name) => SpanKind[name as "ADDED"] === kind);
  return Object.fromEntries(
    switchoverSpans(instants).map(({ kind, durationUs }) => [nameOf(kind), durationUs]),
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
      },
    );
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
