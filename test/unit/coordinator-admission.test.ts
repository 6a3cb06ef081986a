import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Admission } from "../../coordinator/admission/admission.ts";
import type { AdmissionLimits } from "../../coordinator/admission/admission-limits.ts";
import { type AdmissionPort, OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { InventoryApi } from "../../coordinator/inventory-api.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { RecordCatalogue } from "../../coordinator/record/record-catalogue.ts";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import { Drain, DrainPhase } from "../../proto/gen/switchover/v1/drain.ts";
import {
  type Migration,
  MigrationMode,
  type MigrationSpec,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { ListMigrationsRequest } from "../../proto/gen/switchover/v1/migration_service.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import { SlotBucket } from "./admission-world.ts";
import { phaseName, specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const ONE_EACH: AdmissionLimits = { perSource: 1, perDestination: 1, inAll: 10, queued: 2 };
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

describe("admission", () => {
  let world: World;
  let bucket: SlotBucket;
  let ending: AbortController;

  beforeEach(() => {
    world = new World();
    world.hosts.moves = "when told";
    bucket = new SlotBucket();
    ending = new AbortController();
  });
  afterEach(() => {
    ending.abort();
    world.close();
  });

  function coordinator(limits: AdmissionLimits = ONE_EACH, draining = new DrainingHosts()) {
    const { clock, store, hosts: agents } = world;
    const dead = new AbortController();
    ending.signal.addEventListener("abort", () => dead.abort());
    const slots = bucket.storeOf(dead.signal);
    const admission = new Admission({ slots, store, clock, log: SILENT, draining }, limits, dead.signal);
    for (const watch of slots.watches) watch.advance(Number.POSITIVE_INFINITY);
    const runner = world.startRunner({}, admission);
    const hosts = {
      get: async (hostId: string) => HostRecord.create({ hostId }),
    };
    const api = new MigrationApi({
      store,
      hosts,
      agents,
      clock,
      random: () => 0.5,
      runner,
      admission,
      draining,
      moveBudget: null,
    });
    const kill = () => {
      dead.abort();
      runner.close();
    };
    return { api, runner, admission, kill };
  }

  async function start(
    api: MigrationApi,
    guestId: string,
    change: Partial<MigrationSpec> = {},
  ): Promise<Migration> {
    const spec = specOf({ guestId, ...change });
    const { migration } = await api.startMigration({ requestId: "r1", spec, validateOnly: false });
    assert.ok(migration !== undefined);
    return migration;
  }

  const get = async (api: MigrationApi, { migrationId }: Migration): Promise<Migration> => {
    const { migration } = await api.getMigration({ migrationId });
    assert.ok(migration !== undefined);
    return migration;
  };

  it("lets a migration begin at once where there is room, and takes its slot back when it has ended", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    assert.deepEqual(
      bucket.values.map(({ slot }) => slot.guestId),
      ["web-7"],
    );
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    await world.until(() => bucket.values.every(({ slot }) => slot.released), "the slot is released");
  });

  it("tells the place in every answer that shows one that waits", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const change = { destinationHostId: "hc", mode: MigrationMode.POST_COPY };
    const begun = await start(api, "web-8", change);
    assert.equal(begun.queuePlace?.position, 1);
    await world.until(async () => (await get(api, begun)).queuePlace?.position === 1, "it is in line");
    const { migrationId } = begun;
    const spec = specOf({ guestId: "web-8", ...change });
    for (const answer of [
      await api.startMigration({ requestId: "r1", spec, validateOnly: false }),
      await api.startMigration({ requestId: "r1", spec, validateOnly: true }),
      await api.switchToPostCopy({ migrationId }),
    ]) {
      assert.equal(answer.migration?.queuePlace?.position, 1);
      assert.equal(answer.migration.reasonCode, "SOURCE_HOST_BUSY");
    }
  });

  it("lets none begin to a host that is to be evacuated since it was asked for, and says so", async () => {
    const draining = new DrainingHosts();
    const drain = (phase: DrainPhase) =>
      draining.hear(Drain.fromPartial({ drainId: "hc-000000000000", spec: { hostId: "hc" }, phase }));
    const { api, runner } = coordinator({ ...ONE_EACH, queued: 10 }, draining);
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const second = await start(api, "web-8", { destinationHostId: "hc" });
    await start(api, "web-9", { destinationHostId: "hd" });
    drain(DrainPhase.DRAINING);
    const place = async () => (await get(api, second)).queuePlace;
    await world.until(async () => (await place())?.reasonCode === "HOST_DRAINING", "it is told");
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    await world.untilPhase("web-9", "TRANSFERRING");
    assert.equal((await get(api, second)).phase, Phase.PENDING);
    world.hosts.moveCpus();
    await world.untilArchived("web-9");
    drain(DrainPhase.CANCELLED);
    await world.untilPhase("web-8", "TRANSFERRING");
  });

  it("counts open migrations by phase, those in line by what they wait for, and slots", async () => {
    const { admission, api, runner } = coordinator();
    await runner.resume();
    const counts = () => {
      const census = admission.census();
      const [phases, waiting] = [census.phases(), census.waiting()].map((all) => Object.fromEntries(all));
      return { phases, waiting, slotsUsed: census.slotsUsed() };
    };
    assert.deepEqual(counts(), { phases: {}, waiting: {}, slotsUsed: 0 });
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const second = await start(api, "web-8", { destinationHostId: "hc" });
    await world.until(async () => (await get(api, second)).queuePlace?.position === 1, "it has its place");
    assert.deepEqual(counts(), {
      phases: { [Phase.TRANSFERRING]: 1, [Phase.PENDING]: 1 },
      waiting: { source: 1 },
      slotsUsed: 1,
    });
    assert.equal(runner.drivenCount, 2);
    await api.cancelMigration(second);
    await world.untilArchived("web-8");
    assert.deepEqual(counts().phases, { [Phase.TRANSFERRING]: 1 });
  });

  it("keeps the next one in PENDING and tells its place and what it waits for, in the feed too", async () => {
    const { admission, api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const second = await start(api, "web-8", { destinationHostId: "hc" });
    const third = await start(api, "web-9", { destinationHostId: "hd", priority: 1 });
    await world.until(async () => (await get(api, third)).queuePlace?.position === 1, "it has its place");
    const waiting = await get(api, second);
    assert.equal(waiting.phase, Phase.PENDING);
    assert.deepEqual(waiting.queuePlace, {
      position: 2,
      reasonCode: "SOURCE_HOST_BUSY",
      reason: "Host ha is the source of 1 migrations, which is the limit.",
    });
    assert.equal(waiting.reasonCode, "SOURCE_HOST_BUSY");
    const { migrations } = await inventoryOf(world, admission).listMigrations(
      ListMigrationsRequest.fromPartial({ filter: { guestId: "web-8" } }),
    );
    assert.deepEqual(
      migrations.map(({ queuePlace }) => queuePlace),
      [waiting.queuePlace],
    );
    const told = world.feed.events.find(({ guestId }) => guestId === "web-8")?.event;
    assert.ok(told?.$case === "phaseChanged");
    assert.match(told.value.reason, /^It is number 1 in line: Host ha is the source/);
  });

  it("lets the next begin when the one before it has ended, the higher priority first", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    await start(api, "web-8");
    await start(api, "web-9", { priority: 1 });
    world.hosts.held = "prepareDestination";
    world.hosts.moveCpus();
    await world.untilPhase("web-9", "PREPARING");
    await world.untilPhase("web-8", "PENDING");
  });

  it("shows whoever watches each change of the place", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const second = await start(api, "web-8");
    const seen: string[] = [];
    const watch = (async () => {
      const stream = api.watchMigration(
        { migrationId: second.migrationId, afterRevision: 0n },
        ending.signal,
      );
      for await (const { migration } of stream) {
        if (migration === undefined) continue;
        seen.push(`${phaseName(migration.phase)} ${migration.queuePlace?.position ?? "-"}`);
      }
    })();
    await world.until(() => seen.includes("PENDING 1"), "the first place is shown");
    await start(api, "web-9", { priority: 1 });
    await world.until(() => seen.includes("PENDING 2"), "the second place is shown");
    ending.abort();
    await watch;
  });

  it("cancels one that waits, which then takes no slot", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const second = await start(api, "web-8");
    await api.cancelMigration({ migrationId: second.migrationId });
    await world.untilArchived("web-8");
    assert.equal((await get(api, second)).phase, Phase.CANCELLED);
    assert.deepEqual(world.feed.phasesOf(second.migrationId), ["PENDING", "CANCELLING", "CANCELLED"]);
    assert.equal(bucket.values.length, 1);
  });

  it("refuses with a retry delay what is beyond the line's end", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    await start(api, "web-8");
    await start(api, "web-9");
    await assert.rejects(start(api, "web-10"), {
      code: "RESOURCE_EXHAUSTED",
      reason: "QUEUE_FULL",
      metadata: { retry_after_ms: "5000" },
    });
  });

  it("is taken over by another coordinator, which lets those begin that the dead one had waiting", async () => {
    const first = coordinator();
    const second = coordinator();
    await Promise.all([first.runner.resume(), second.runner.resume()]);
    await start(first.api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    await start(first.api, "web-8");
    first.kill();
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    await world.until(async () => {
      const held = await world.store.get("web-8" as never);
      return held?.record.migration?.migration?.phase !== Phase.PENDING;
    }, "the one that waited begins");
  });

  it("is driven by the one coordinator that let it begin, though others waited with it", async () => {
    const first = coordinator();
    const second = coordinator();
    await Promise.all([first.runner.resume(), second.runner.resume()]);
    const under = await start(first.api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    const { migrationId } = await start(first.api, "web-8");
    const waits = () => second.runner.current("web-8" as never, migrationId as never) !== null;
    await world.until(waits, "the other one waits with it");
    await first.api.cancelMigration({ migrationId: under.migrationId });
    await world.until(
      async () => (await get(first.api, { ...under, migrationId })).phase !== Phase.PENDING,
      "it begins",
    );
    await world.until(() => !waits(), "the other one lets go");
  });

  it("hears of each commit of a migration that is driven here, which the watch of records leaves out", async () => {
    const heard: Phase[] = [];
    const hear = ({ record }: StoredRecord): void => {
      heard.push(record.migration?.migration?.phase ?? Phase.UNSPECIFIED);
    };
    const door = { ...OPEN_DOOR, hear };
    const { clock, store, hosts: agents } = world;
    // The watch brings nothing that this coordinator has not asked for itself.
    world.store.watchAll = async function* () {};
    const runner = world.startRunner({}, door);
    const hosts = { get: async (hostId: string) => HostRecord.create({ hostId }) };
    const ports = {
      store,
      hosts,
      agents,
      clock,
      random: () => 0.5,
      runner,
      admission: door,
      draining: new DrainingHosts(),
    };
    await start(new MigrationApi({ ...ports, moveBudget: null }), "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    for (const phase of [Phase.PREPARING, Phase.TRANSFERRING, Phase.COMPLETED]) {
      assert.ok(heard.includes(phase), phaseName(phase));
    }
  });

  it("counts a migration under way whose slot was lost", async () => {
    const { api, runner } = coordinator();
    await runner.resume();
    await start(api, "web-7");
    await world.untilPhase("web-7", "TRANSFERRING");
    bucket.lose("web-7");
    const others = coordinator();
    await others.runner.resume();
    await world.until(() => bucket.values.some(({ slot }) => !slot.released), "it has a slot again");
  });
});

/** Over the records of this world. */
function inventoryOf({ clock, store }: World, admission: AdmissionPort): InventoryApi {
  const catalogue: RecordCatalogue = {
    records: async function* (guestId) {
      const stored = await store.get(guestId ?? assert.fail());
      if (stored !== null) yield stored.record;
    },
    archivedIds: async function* () {},
    readArchived: async () => null,
  };
  const hosts = { hosts: () => assert.fail(), host: () => assert.fail() };
  return new InventoryApi({ catalogue, hosts, store, admission, clock });
}
