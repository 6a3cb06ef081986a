import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { DrainApi } from "../../coordinator/drain/drain-api.ts";
import { SwitchoverError } from "../../proto/error.ts";
import {
  type Drain,
  DrainedGuestState,
  DrainPhase,
  type DrainSpec,
} from "../../proto/gen/switchover/v1/drain.ts";
import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { DrainWorld, drainSpecOf } from "./drain-world.ts";

const { WAITING, MIGRATING, MOVED, FAILED, LEFT } = DrainedGuestState;

describe("DrainHost", () => {
  let world: DrainWorld;
  let api: DrainApi;
  let kill: () => void;

  beforeEach(() => {
    world = new DrainWorld();
    ({ api, kill } = world.coordinator("c1"));
  });
  afterEach(() => world.close());

  /** Guests g0, g1, ... on ha, each prepared on hb. */
  function guests(count: number): string[] {
    const ids = Array.from({ length: count }, (_, index) => `g${index}`);
    for (const guestId of ids) {
      world.cloud.livesOn.set(guestId, "ha");
      world.cloud.prepare(guestId, "hb");
    }
    return ids;
  }

  async function drain(change: Partial<DrainSpec> = {}, requestId = "r1"): Promise<Drain> {
    const answer = await api.drainHost({ requestId, spec: drainSpecOf(change) });
    assert.ok(answer.drain !== undefined);
    return answer.drain;
  }

  const isIn = (phase: DrainPhase) => () => world.drain?.phase === phase;
  const state = (guestId: string) => world.guest(guestId)?.state;

  it("moves every guest of the host, never more than so many at a time, and ends with none left", async () => {
    const ids = guests(5);
    await drain({ maxParallel: 2 });
    for (let round = 0; round < 3; round += 1) {
      await world.until(() => world.cloud.underWay().length === Math.min(2, 5 - 2 * round), "some go");
      for (const guestId of world.cloud.guestsUnderWay()) world.cloud.end(guestId, Phase.COMPLETED);
    }
    await world.until(isIn(DrainPhase.DRAINED), "the host is empty");
    assert.equal(world.cloud.mostUnderWay, 2);
    assert.deepEqual(
      ids.map((guestId) => [world.cloud.livesOn.get(guestId), state(guestId)]),
      ids.map(() => ["hb", MOVED]),
    );
    assert.equal(world.cloud.migrations.size, 5);
    for (const { migration } of world.cloud.migrations.values()) {
      assert.equal(migration.requestedBy?.drainId, world.drain?.drainId, "and each says who asked");
    }
  });

  it("ends at once for a host that has no guest", async () => {
    await drain();
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
    assert.deepEqual(world.drain?.guests, []);
  });

  it("waits for a guest that somebody's migration is bringing, and sends it on", async () => {
    world.cloud.livesOn.set("g0", "hd");
    world.cloud.prepare("g0", "ha");
    await world.cloud.migrate("g0", "hd", "ha");
    await drain();
    await world.until(() => world.drain?.reasonCode === "GUEST_ON_ITS_WAY", "it is told");
    assert.equal(world.drain?.phase, DrainPhase.DRAINING);
    world.cloud.end("g0", Phase.COMPLETED);
    world.cloud.prepare("g0", "hb");
    await world.until(() => state("g0") === MIGRATING, "it goes on");
    await world.until(() => world.cloud.guestsUnderWay().includes("g0"), "it is on its way");
    world.cloud.end("g0", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.DRAINED), "the host is empty");
    assert.equal(world.drain?.reasonCode, "");
  });

  it("waits for the pages of a guest that somebody's migration has taken away", async () => {
    await world.cloud.migrate("g0", "ha", "hd");
    world.cloud.livesOn.set("g0", "hd");
    world.cloud.prepare("g0", "ha");
    await drain();
    await world.until(() => world.drain?.reasonCode === "GUEST_ON_ITS_WAY", "it is told");
    world.cloud.end("g0", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
  });

  it("spreads guests over the destinations that have them prepared", async () => {
    for (const guestId of guests(4)) world.cloud.prepare(guestId, "hc");
    await drain({ maxParallel: 4 });
    await world.until(() => world.cloud.underWay().length === 4, "all go");
    const destinations = world.cloud.underWay().map(({ migration }) => migration.spec?.destinationHostId);
    assert.deepEqual(destinations.sort(), ["hb", "hb", "hc", "hc"]);
  });

  it("waits for the control plane to prepare a guest, says so, and sends it then", async () => {
    world.cloud.livesOn.set("g0", "ha");
    await drain();
    await world.until(() => world.guest("g0")?.reasonCode === "NOT_PREPARED", "it is told");
    assert.equal(state("g0"), WAITING);
    assert.equal(world.cloud.migrations.size, 0);
    world.cloud.prepare("g0", "hc");
    await world.until(() => state("g0") === MIGRATING, "it goes");
    assert.equal(world.guest("g0")?.destinationHostId, "hc");
  });

  it("tells of a guest that waits because others are on their way", async () => {
    guests(2);
    await drain({ maxParallel: 1 });
    await world.until(() => world.guest("g1")?.reasonCode === "ITS_TURN", "it is told");
  });

  it("has guests that are refused again and again keep back none that may go", async () => {
    for (const guestId of guests(5).slice(0, 4)) world.cloud.unready.add(guestId);
    await drain({ maxParallel: 1, giveUpAfterMs: 60_000 });
    await world.until(() => world.cloud.guestsUnderWay().includes("g4"), "the last one goes");
  });

  it("tries a guest again whose migration failed, so often, and ends incomplete", async () => {
    guests(1);
    await drain({ attempts: 2 });
    for (const attempt of [1, 2]) {
      await world.until(() => world.cloud.underWay().length === 1, `attempt ${attempt} is made`);
      world.cloud.end("g0", Phase.FAILED, "VMM_BUSY");
      world.cloud.prepare("g0", "hb");
      await world.until(() => world.guest("g0")?.attempts === attempt, "it is counted");
    }
    await world.until(isIn(DrainPhase.INCOMPLETE), "it ends");
    assert.equal(state("g0"), FAILED);
    assert.equal(world.guest("g0")?.reasonCode, "VMM_BUSY");
    assert.equal(world.cloud.migrations.size, 2);
  });

  it("tells of a guest that its migration lost, and ends incomplete", async () => {
    guests(1);
    await drain();
    await world.until(() => world.cloud.underWay().length === 1, "it goes");
    world.cloud.end("g0", Phase.FAILED, "GUEST_LOST", Outcome.GUEST_LOST);
    await world.until(isIn(DrainPhase.INCOMPLETE), "it ends");
    assert.equal(state("g0"), FAILED);
    assert.equal(world.guest("g0")?.reasonCode, "GUEST_LOST");
  });

  it("goes on without a guest whose record cannot be read, says so, and gives it up in the end", async () => {
    guests(3);
    world.cloud.unreadable.add("g0");
    await drain({ giveUpAfterMs: 30_000 });
    await world.until(() => world.cloud.guestsUnderWay().includes("g1"), "another one goes");
    world.cloud.unreadable.add("g1");
    await world.until(() => world.guest("g1")?.reasonCode === "RECORD_UNREADABLE", "it is told");
    world.cloud.unreadable.delete("g1");
    world.cloud.end("g1", Phase.COMPLETED);
    await world.until(() => world.cloud.guestsUnderWay().includes("g2"), "the next one goes");
    world.cloud.end("g2", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.INCOMPLETE), "it ends");
    assert.deepEqual([state("g0"), state("g1"), state("g2")], [FAILED, MOVED, MOVED]);
    assert.equal(world.guest("g0")?.reasonCode, "RECORD_UNREADABLE");
  });

  it("gives up guests that wait too long", async () => {
    world.cloud.livesOn.set("g0", "ha");
    await drain({ giveUpAfterMs: 5_000 });
    await world.until(isIn(DrainPhase.INCOMPLETE), "it ends");
    assert.equal(state("g0"), FAILED);
    assert.equal(world.guest("g0")?.reasonCode, "NOT_PREPARED");
  });

  it("waits as long as a guest's move budget says, at no cost of attempts", async () => {
    guests(1);
    const metadata = { retry_after_ms: "7000" };
    const refusal = new SwitchoverError("RESOURCE_EXHAUSTED", "Often.", { reason: "MOVE_BUDGET", metadata });
    world.cloud.refusals.set("g0", [refusal]);
    await drain();
    await world.until(() => world.guest("g0")?.reasonCode === "MOVE_BUDGET", "it is told");
    const refusedAtUnixUs = world.clock.unixUs();
    await world.until(() => state("g0") === MIGRATING, "it goes");
    assert.ok(world.clock.unixUs() - refusedAtUnixUs >= 6_900_000);
    assert.equal(world.guest("g0")?.attempts, 0);
  });

  it("notices a guest that its owner moved, and one that came meanwhile", async () => {
    world.cloud.livesOn.set("g0", "ha");
    await drain();
    await world.until(() => state("g0") === WAITING, "it is found");
    world.cloud.livesOn.set("g0", "hz");
    world.cloud.livesOn.set("g1", "ha");
    world.cloud.prepare("g1", "hb");
    await world.until(() => state("g1") === MIGRATING, "the other goes");
    assert.equal(state("g0"), LEFT);
  });

  it("does not take a host for empty that does not answer", async () => {
    world.cloud.silent.add("ha");
    await drain();
    await world.until(() => world.drain?.reasonCode === "HOST_SILENT", "it is told");
    world.cloud.silent.delete("ha");
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
    assert.equal(world.drain?.reasonCode, "");
  });

  it("is gone on with by another coordinator, which asks for nothing twice", async () => {
    guests(4);
    world.cloud.answersLost = 1;
    await drain({ maxParallel: 2 });
    await world.until(() => world.cloud.underWay().length === 2, "two go");
    kill();
    world.coordinator("c2");
    for (let round = 0; round < 2; round += 1) {
      await world.until(() => world.cloud.underWay().length === 2, "two go");
      for (const guestId of world.cloud.guestsUnderWay()) world.cloud.end(guestId, Phase.COMPLETED);
    }
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
    assert.equal(world.cloud.migrations.size, 4);
    assert.equal(world.cloud.mostUnderWay, 2);
  });

  for (const when of ["beforeWrite", "afterWrite"] as const) {
    for (let write = 1; write <= 6; write += 1) {
      it(`survives a coordinator that dies ${when} number ${write}`, async () => {
        guests(3);
        let writes = 0;
        world.drains[when] = () => {
          writes += 1;
          if (writes === write) kill();
        };
        await drain({ maxParallel: 2 }).catch(() => undefined);
        ({ api } = world.coordinator("c2"));
        await drain({ maxParallel: 2 });
        for (let end = 0; end < 3; end += 1) {
          await world.until(() => world.cloud.underWay().length > 0, "one goes");
          world.cloud.end(world.cloud.guestsUnderWay()[0] ?? "", Phase.COMPLETED);
        }
        await world.until(isIn(DrainPhase.DRAINED), "it ends");
        assert.equal(world.cloud.migrations.size, 3);
        assert.ok(world.cloud.mostUnderWay <= 2);
      });
    }
  }

  it("goes on with many destinations that are waited for in vain, and another coordinator beside", async () => {
    guests(1);
    const stuck = Array.from({ length: 63 }, (_, index) => `h${index}`);
    for (const hostId of stuck) world.cloud.stuck.add(hostId);
    world.coordinator("c2");
    await drain({ destinationHostIds: [...stuck, "hb"] });
    await world.until(() => world.cloud.underWay().length === 1, "it goes");
  });

  it("goes on with many VMMs that are waited for in vain, and another coordinator beside", async () => {
    for (const guestId of guests(65).slice(0, 64)) world.cloud.stuckVmms.add(guestId);
    world.coordinator("c2");
    await drain({ maxParallel: 64 });
    await world.until(() => world.cloud.guestsUnderWay().includes("g64"), "the one that can go goes");
  });

  it("sends nobody away any more once it is cancelled, and ends with those on their way", async () => {
    guests(3);
    const { drainId } = await drain({ maxParallel: 1 });
    await world.until(() => state("g0") === MIGRATING && world.guest("g0")?.migrationId !== "", "one goes");
    const answer = await api.cancelDrain({ drainId, cancelMigrations: false });
    assert.equal(answer.drain?.phase, DrainPhase.CANCELLING);
    world.cloud.end("g0", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.CANCELLED), "it ends");
    assert.deepEqual([state("g0"), state("g1"), state("g2")], [MOVED, WAITING, WAITING]);
    assert.equal(world.cloud.migrations.size, 1);
    const again = await api.cancelDrain({ drainId, cancelMigrations: false });
    assert.equal(again.drain?.phase, DrainPhase.CANCELLED);
  });

  it("cancels those on their way, too, where it is asked to", async () => {
    guests(2);
    const { drainId } = await drain({ maxParallel: 1 });
    await world.until(() => world.cloud.underWay().length === 1, "one goes");
    await api.cancelDrain({ drainId, cancelMigrations: true });
    await world.until(isIn(DrainPhase.CANCELLED), "it ends");
    assert.equal(world.cloud.underWay().length, 0);
    assert.equal(world.cloud.livesOn.get("g0"), "ha");
  });

  it("is watched to its end, each state once", async () => {
    guests(1);
    const { drainId } = await drain();
    const seen: string[] = [];
    const watch = (async () => {
      for await (const { drain: stands } of api.watchDrain({ drainId }, new AbortController().signal)) {
        seen.push(`${stands?.phase} ${stands?.guests.map((guest) => guest.state).join()}`);
      }
    })();
    await world.until(() => seen.some((line) => line.endsWith(String(MIGRATING))), "it is seen to go");
    await world.until(() => world.cloud.underWay().length === 1, "it goes");
    world.cloud.end("g0", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
    await watch;
    assert.equal(seen.at(-1), `${DrainPhase.DRAINED} ${MOVED}`);
    assert.ok(seen.length <= 8, seen.join(" | "));
  });

  it("is watched to its end where that is heard of before the answer to how it stood", async () => {
    guests(1);
    const { drainId } = await drain();
    await world.until(() => world.cloud.underWay().length === 1, "it goes");
    let answer = () => {};
    world.drains.beforeAnswer = () => {
      world.drains.beforeAnswer = null;
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
    const phases: (DrainPhase | undefined)[] = [];
    const watch = (async () => {
      for await (const { drain: stands } of api.watchDrain({ drainId }, new AbortController().signal))
        phases.push(stands?.phase);
    })();
    world.cloud.end("g0", Phase.COMPLETED);
    await world.until(isIn(DrainPhase.DRAINED), "it ends");
    answer();
    await world.until(() => phases.length > 0, "something is told");
    assert.deepEqual(phases, [DrainPhase.DRAINED]);
    await watch;
  });

  it("is one drain for one request id, and one at a time for a host", async () => {
    world.cloud.livesOn.set("g0", "ha");
    const first = await drain();
    assert.equal((await drain()).drainId, first.drainId);
    await assert.rejects(drain({ maxParallel: 9 }), { code: "ALREADY_EXISTS", reason: "REQUEST_REUSED" });
    await assert.rejects(drain({}, "r2"), { code: "FAILED_PRECONDITION", reason: "HOST_DRAINING" });
    await api.cancelDrain({ drainId: first.drainId, cancelMigrations: false });
    await world.until(isIn(DrainPhase.CANCELLED), "it ends");
    world.clock.advance(1_000);
    const second = await drain({}, "r2");
    assert.notEqual(second.drainId, first.drainId);
    await assert.rejects(drain({}, "r1"), { reason: "REQUEST_REUSED" });
    await assert.rejects(api.getDrain({ drainId: first.drainId }), { reason: "DRAIN_UNKNOWN" });
    await assert.rejects(api.cancelDrain({ drainId: first.drainId, cancelMigrations: false }), {
      reason: "DRAIN_UNKNOWN",
    });
  });

  const WRONG: readonly (readonly [string, string, Partial<DrainSpec>, string?])[] = [
    ["no request id", "request_id", {}, ""],
    ["no host", "spec.host_id", { hostId: "" }],
    ["a host with a dot", "spec.host_id", { hostId: "h.a" }],
    ["no destination", "spec.destination_host_ids", { destinationHostIds: [] }],
    [
      "65 destinations",
      "spec.destination_host_ids",
      { destinationHostIds: Array.from({ length: 65 }, (_, index) => `h${index}`) },
    ],
    ["itself as a destination", "spec.destination_host_ids[1]", { destinationHostIds: ["hb", "ha"] }],
    ["a destination twice", "spec.destination_host_ids[1]", { destinationHostIds: ["hb", "hb"] }],
    ["an empty destination", "spec.destination_host_ids[0]", { destinationHostIds: [""] }],
    ["no mode", "spec.mode", { mode: MigrationMode.UNSPECIFIED }],
    ["101 at a time", "spec.max_parallel", { maxParallel: 101 }],
    ["11 attempts", "spec.attempts", { attempts: 11 }],
    ["more than a week", "spec.give_up_after_ms", { giveUpAfterMs: 604_800_001 }],
    ["a priority of 101", "spec.priority", { priority: 101 }],
    ["a deadline without action", "spec.deadline.action", { deadline: { afterMs: 5, action: 0 } }],
  ];
  for (const [what, field, change, requestId] of WRONG) {
    it(`refuses ${what}, naming ${field}, and stores nothing`, async () => {
      await assert.rejects(drain(change, requestId ?? "r1"), { code: "INVALID_ARGUMENT", field });
      assert.equal(world.drains.commits.length, 0);
    });
  }

  it("refuses hosts without an agent", async () => {
    const field = "spec.destination_host_ids[1]";
    const hx = { destinationHostIds: ["hb", "hx"] };
    await assert.rejects(drain(hx), { code: "NOT_FOUND", reason: "HOST_UNKNOWN", field });
    assert.equal(world.drains.commits.length, 0);
  });

  it("takes no host as a destination that is being drained, nor sends a guest to one that is by then", async () => {
    world.cloud.livesOn.set("g0", "ha");
    world.cloud.livesOn.set("g1", "hb");
    world.cloud.prepare("g0", "hb");
    world.cloud.prepare("g0", "hc");
    await drain({ destinationHostIds: ["hb", "hc"], maxParallel: 1 });
    const other = { requestId: "r1", spec: drainSpecOf({ hostId: "hb", destinationHostIds: ["hc"] }) };
    await api.drainHost(other);
    await world.until(() => world.cloud.guestsUnderWay().includes("g0"), "it is on its way");
    const [asked] = world.cloud.underWay();
    assert.equal(asked?.migration.spec?.destinationHostId, "hc");
    const field = "spec.destination_host_ids[0]";
    const spec = drainSpecOf({ hostId: "hd", destinationHostIds: ["hb"] });
    await assert.rejects(api.drainHost({ requestId: "r3", spec }), { reason: "HOST_DRAINING", field });
  });

  it("refuses what is no drain's id", async () => {
    await assert.rejects(api.getDrain({ drainId: "" }), { code: "INVALID_ARGUMENT", field: "drain_id" });
    await assert.rejects(api.getDrain({ drainId: "ha" }), { code: "INVALID_ARGUMENT", field: "drain_id" });
  });
});
