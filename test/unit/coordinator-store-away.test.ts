import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import type { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { Outcome } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;
const LIVE_PATH = ["PENDING", "PREPARING", "TRANSFERRING", "SWITCHING_OVER", "COMPLETING", "COMPLETED"];

let world: World;
beforeEach(() => {
  world = new World();
  world.hosts.moves = "when told";
});
afterEach(() => world.close());

function claim(): StoredRecord {
  const request = { requestId: "r1", guestId: GUEST, spec: specOf() };
  const claimed = claimGuest(null, request, BigInt(world.clock.unixUs()), 0.5);
  assert.ok(claimed.t === "claimed");
  return world.store.put(claimed.record);
}

async function toTransferring(runner: MigrationRunner): Promise<MigrationId> {
  const stored = claim();
  runner.take(stored);
  await world.untilPhase("web-7", "TRANSFERRING");
  await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
  return stored.record.migration?.migration?.migrationId as MigrationId;
}

async function passes(ms: number): Promise<void> {
  const laterUnixUs = world.clock.unixUs() + ms * 1_000;
  await world.until(() => world.clock.unixUs() >= laterUnixUs, "time passes");
}

describe("a switchover that meets a store that is away", () => {
  it("has the source's word carried to the destination, and nothing else done before it is committed", async () => {
    world.hosts.handOffs = "get lost";
    const migrationId = await toTransferring(world.startRunner());
    const before = world.hosts.calls.length;
    world.store.down = true;
    world.hosts.moveCpus();
    await world.until(() => world.hosts.calls.includes("deliverHandOff@hb"), "the word is delivered");
    await passes(20_000);
    const done = world.hosts.calls.slice(before).filter((call) => !call.startsWith("follow"));
    assert.deepEqual(done, ["getHandOff@ha", "deliverHandOff@hb"]);
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH.slice(0, 3));
    world.store.down = false;
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    // All but HANDED_OFF, which the source's lost word would have told.
    assert.equal(state.migration?.instants.length, 10);
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("is told with the times at which it happened, not those of its commit", async () => {
    await toTransferring(world.startRunner());
    world.store.down = true;
    world.hosts.moveCpus();
    await passes(1_000);
    const happenedBeforeUnixUs = BigInt(world.clock.unixUs());
    await passes(20_000);
    world.store.down = false;
    const state = await world.untilArchived("web-7");
    const switching = state.migration?.phases[3]?.atUnixUs ?? 0n;
    assert.ok(switching > 0n && switching < happenedBeforeUnixUs);
  });

  it("loses nothing where another coordinator was first to commit, nor beyond the bound of what is kept", async () => {
    await toTransferring(world.startRunner({ queuedEvents: 8 }));
    world.store.down = true;
    for (let round = 1n; round <= 50n; round += 1n) world.hosts.progresses(round * 1_000_000n);
    world.hosts.moveCpus();
    await passes(5_000);
    world.store.touch("web-7");
    world.store.down = false;
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.instants.length, 11);
  });

  it("answers callers within two seconds that it does not know", async () => {
    const runner = world.startRunner();
    await toTransferring(runner);
    world.store.down = true;
    const sinceUnixUs = world.clock.unixUs();
    let answered: Promise<unknown> | null = assert.rejects(runner.tell(GUEST, { t: "CancelAsked" }), {
      code: "UNAVAILABLE",
      reason: "OUTCOME_UNKNOWN",
    });
    void answered.then(() => {
      answered = null;
    });
    await world.until(() => answered === null, "the caller is answered");
    assert.ok(world.clock.unixUs() - sinceUnixUs <= 2_000_000);
    world.store.down = false;
    await world.untilArchived("web-7");
    assert.equal(world.hosts.calls.filter((call) => call === "cancelTransfer@ha").length, 1);
  });
});

describe("a migration whose coordinator dies", () => {
  it("is driven on by another one within two seconds", async () => {
    const first = world.startRunner();
    await world.startRunner().resume();
    await toTransferring(first);
    first.close();
    const diedAtUnixUs = world.clock.unixUs();
    const follows = () => world.hosts.calls.filter((call) => call.startsWith("follow@ha")).length;
    const before = follows();
    await world.until(() => follows() > before, "the source is followed again");
    assert.ok(world.clock.unixUs() - diedAtUnixUs <= 2_000_000);
    world.hosts.moveCpus();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
  });

  it("is left to its coordinator while that commits how far it is", async () => {
    await world.startRunner().resume();
    await toTransferring(world.startRunner());
    const follows = () => world.hosts.calls.filter((call) => call.startsWith("follow@")).length;
    const before = follows();
    for (let round = 1n; round <= 40n; round += 1n) {
      world.hosts.progresses(round * 1_000_000n);
      await passes(250);
    }
    assert.equal(follows(), before);
  });

  it("is not replaced by an earlier one whose record comes late", async () => {
    const runner = world.startRunner();
    const migrationId = await toTransferring(runner);
    const stored = await world.store.get(GUEST);
    const held = stored?.record.migration;
    assert.ok(stored !== null && held?.migration !== undefined);
    const earlier = { ...held, migration: { ...held.migration, migrationId: "web-7-000000000000" } };
    runner.take({ record: { ...stored.record, migration: earlier }, revision: stored.revision - 1 });
    assert.notEqual(runner.stateOf(GUEST, migrationId), null);
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
  });

  it("is heard of by a coordinator that drives it too, as soon as another one commits", async () => {
    const [first, second] = [world.startRunner(), world.startRunner()];
    await first.resume();
    await second.resume();
    const migrationId = await toTransferring(first);
    const stored = await world.store.get(GUEST);
    assert.ok(stored !== null);
    second.take(stored);
    await second.tell(GUEST, { t: "CancelAsked" });
    await world.until(
      () => first.stateOf(GUEST, migrationId)?.cancelAsked !== false,
      "the first hears of it",
    );
    await world.untilArchived("web-7");
  });

  it("goes on where the agents have acted on commits that the store has lost", async () => {
    const runner = world.startRunner();
    world.hosts.held = "prepareDestination";
    runner.take(claim());
    await world.until(() => world.hosts.calls.includes("prepareDestination@hb"), "it is prepared");
    world.hosts.setFence("ha", { epoch: 1n, revision: 40n });
    world.hosts.release();
    await world.untilPhase("web-7", "TRANSFERRING");
    world.hosts.moveCpus();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.ok((state.migration?.fence?.revision ?? 0n) > 40n);
  });
});
