import assert from "node:assert/strict";
import { test } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { withMigration } from "../../coordinator/migration/complete-state.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import { checkMoveBudget, movesIn } from "../../coordinator/record/move-budget.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type GuestRecord, HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;
const BUDGET = { moves: 2, windowMs: 180_000 };
const S = 1_000_000n;
const { PENDING, CANCELLING, SWITCHING_OVER, COMPLETING, COMPLETED, ROLLING_BACK, FAILED, HANDING_BACK } =
  Phase;

/** The guest's next migration, which entered these phases, one each second from `atS` on. */
function migrated(record: GuestRecord | null, atS: bigint, phases: readonly Phase[]): GuestRecord {
  const request = { requestId: `r${atS}`, guestId: GUEST, spec: specOf() };
  const claim = claimGuest(record, request, atS * S, 0.5);
  assert.ok(claim.t === "claimed");
  const { migration } = claim.record;
  assert.ok(migration?.migration !== undefined);
  const entries = phases.map((phase, index) => ({ phase, atUnixUs: (atS + BigInt(index)) * S, reason: "" }));
  const phase = phases.at(-1) ?? PENDING;
  const state = withMigration(migration as never, { phase, phases: entries });
  return { ...claim.record, migration: state };
}

const MOVED = [PENDING, SWITCHING_OVER, COMPLETING, COMPLETED];

test("a migration that arrived moved the address once, one that came back twice, one rolled back never", () => {
  assert.deepEqual(movesIn(migrated(null, 100n, MOVED)), [101n * S]);
  const cameBack = [PENDING, SWITCHING_OVER, HANDING_BACK, FAILED];
  assert.deepEqual(movesIn(migrated(null, 100n, cameBack)), [101n * S, 102n * S]);
  assert.deepEqual(movesIn(migrated(null, 100n, [PENDING, SWITCHING_OVER, ROLLING_BACK, FAILED])), []);
  assert.deepEqual(movesIn(migrated(null, 100n, [PENDING, FAILED])), []);
});

test("a switchover that was to be cancelled, too late, moved the address once", () => {
  const tooLate = [PENDING, SWITCHING_OVER, CANCELLING, SWITCHING_OVER, COMPLETING, COMPLETED];
  assert.deepEqual(movesIn(migrated(null, 100n, tooLate)), [103n * S]);
  const cameBack = [PENDING, SWITCHING_OVER, CANCELLING, SWITCHING_OVER, HANDING_BACK, FAILED];
  assert.deepEqual(movesIn(migrated(null, 100n, cameBack)), [103n * S, 104n * S]);
});

test("a record remembers the moves of earlier migrations, the newest 16", () => {
  let record: GuestRecord | null = null;
  for (let at = 100n; at < 300n; at += 10n) record = migrated(record, at, MOVED);
  const moves = movesIn(record);
  assert.equal(moves.length, 16);
  assert.equal(moves.at(-1), 291n * S);
  assert.equal(moves[0], 141n * S);
});

test("one move more than the budget is refused until the oldest is out of the window", () => {
  const record = migrated(migrated(null, 100n, MOVED), 200n, MOVED);
  assert.throws(() => checkMoveBudget(record, BUDGET, 210n * S), {
    code: "RESOURCE_EXHAUSTED",
    reason: "MOVE_BUDGET",
    field: "spec.guest_id",
    metadata: { guest_id: "web-7", retry_after_ms: "71000" },
  });
  assert.doesNotThrow(() => checkMoveBudget(record, BUDGET, 281n * S));
  assert.doesNotThrow(() => checkMoveBudget(record, null, 210n * S));
  assert.doesNotThrow(() => checkMoveBudget(migrated(null, 100n, MOVED), BUDGET, 110n * S));
});

test("StartMigration refuses the guest beyond its budget, and changes nothing; validate_only tells it", async (t) => {
  const world = new World();
  t.after(() => world.close());
  const nowS = BigInt(world.clock.unixUs()) / S;
  const record = migrated(migrated(null, nowS - 60n, MOVED), nowS - 30n, MOVED);
  assert.ok(record.migration !== undefined);
  const stored = world.store.put({ ...record, migration: { ...record.migration, archived: true } });
  const hosts = { get: async () => assert.fail("no host is asked after") };
  const { store, clock, hosts: agents } = world;
  const runner = world.startRunner();
  const draining = new DrainingHosts();
  const shared = { store, clock, agents, random: () => 0.5, runner, admission: OPEN_DOOR, draining };
  const api = new MigrationApi({ ...shared, hosts, moveBudget: BUDGET });
  const asked = { requestId: "r9", spec: specOf(), validateOnly: false };
  await assert.rejects(api.startMigration(asked), { reason: "MOVE_BUDGET" });
  assert.equal((await store.get(GUEST))?.revision, stored.revision);
  const known = {
    get: async (hostId: string) => HostRecord.create({ hostId }),
  };
  const open = new MigrationApi({ ...shared, hosts: known, moveBudget: BUDGET });
  const { refusals } = await open.startMigration({ ...asked, validateOnly: true });
  assert.deepEqual(
    refusals.map(({ reason }) => reason),
    ["MOVE_BUDGET"],
  );
});
