import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { type Migration, MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Resolution } from "../../proto/gen/switchover/v1/migration_service.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;
const POST_COPY_LATE = {
  mode: MigrationMode.POST_COPY,
  postCopy: { trigger: { $case: "afterMs", value: 86_400_000 } },
} as const;

let world: World;
let api: MigrationApi;

function apiOf(runner: MigrationRunner): MigrationApi {
  const hosts = { get: async (hostId: string) => HostRecord.create({ hostId }) };
  return new MigrationApi({
    store: world.store,
    clock: world.clock,
    random: () => 0.5,
    hosts,
    agents: world.hosts,
    runner,
    admission: OPEN_DOOR,
    draining: new DrainingHosts(),
    moveBudget: null,
  });
}

beforeEach(() => {
  world = new World();
  world.hosts.moves = "when told";
  api = apiOf(world.startRunner());
});
afterEach(() => world.close());

/** Started and transferring; returns its id. */
async function start(change: Parameters<typeof specOf>[0] = {}): Promise<string> {
  const { migration } = await api.startMigration({
    requestId: "r1",
    spec: specOf(change),
    validateOnly: false,
  });
  await world.untilPhase("web-7", "TRANSFERRING");
  await world.until(async () => {
    const held = await world.store.get(GUEST);
    return held?.record.migration?.transferActive === true;
  }, "the transfer is active");
  return migration?.migrationId ?? "";
}

async function toPostCopy(): Promise<string> {
  const migrationId = await start(POST_COPY_LATE);
  await api.switchToPostCopy({ migrationId });
  await world.until(() => world.hosts.calls.includes("switchToPostCopy@ha"), "the switch is asked for");
  world.hosts.moveCpus();
  await world.untilPhase("web-7", "POST_COPY");
  return migrationId;
}

/** To AMBIGUOUS: the destination waits for the word of a source that cannot be asked. */
async function toAmbiguous(): Promise<string> {
  world.hosts.handOffs = "get lost";
  const migrationId = await start();
  await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
  world.hosts.setReachable("ha", false);
  world.hosts.moveCpus();
  await world.untilPhase("web-7", "AMBIGUOUS");
  return migrationId;
}

async function ended(): Promise<Migration | undefined> {
  return (await world.untilArchived("web-7")).migration;
}

function refuses(call: Promise<unknown>, code: string, reason: string, field?: string): Promise<void> {
  return assert.rejects(call, field === undefined ? { code, reason } : { code, reason, field });
}

describe("cancelling a migration", () => {
  it("leaves the guest where it is, and may be repeated, also after the end", async () => {
    const migrationId = await start();
    const { migration } = await api.cancelMigration({ migrationId });
    assert.equal(migration?.phase, Phase.CANCELLING);
    await api.cancelMigration({ migrationId });
    assert.equal((await ended())?.phase, Phase.CANCELLED);
    assert.equal((await api.cancelMigration({ migrationId })).migration?.phase, Phase.CANCELLED);
  });

  it("is answered by a coordinator that did not drive it, which takes it up", async () => {
    const migrationId = await start();
    const other = apiOf(world.startRunner());
    assert.equal((await other.cancelMigration({ migrationId })).migration?.phase, Phase.CANCELLING);
    assert.equal((await ended())?.outcome, Outcome.RUNS_ON_SOURCE);
  });

  it("is refused where it is too late, where it has ended, and where there is none", async () => {
    const migrationId = await toPostCopy();
    await refuses(api.cancelMigration({ migrationId }), "FAILED_PRECONDITION", "TOO_LATE");
    world.hosts.finishPages();
    await ended();
    await refuses(api.cancelMigration({ migrationId }), "FAILED_PRECONDITION", "MIGRATION_ENDED");
    const unknown = { migrationId: "web-7-000000000000" };
    await refuses(api.cancelMigration(unknown), "NOT_FOUND", "MIGRATION_UNKNOWN");
    await refuses(api.cancelMigration({ migrationId: "?" }), "INVALID_ARGUMENT", "MALFORMED", "migration_id");
  });

  it("is answered within two seconds where the store is away", async () => {
    const migrationId = await start();
    const strange = apiOf(world.startRunner());
    world.store.down = true;
    const sinceUnixUs = world.clock.unixUs();
    let answers = 0;
    for (const each of [api, strange]) {
      void refuses(each.cancelMigration({ migrationId }), "UNAVAILABLE", "OUTCOME_UNKNOWN").then(
        () => {
          answers += 1;
        },
        () => {
          answers += each === strange ? 1 : 0;
        },
      );
    }
    await world.until(() => answers === 2, "both are answered");
    assert.ok(world.clock.unixUs() - sinceUnixUs <= 2_000_000);
    world.store.down = false;
    await ended();
  });
});

describe("switching to post-copy", () => {
  it("moves the CPUs when a caller says so, once", async () => {
    const migrationId = await toPostCopy();
    await api.switchToPostCopy({ migrationId });
    world.hosts.finishPages();
    assert.equal((await ended())?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(world.hosts.calls.filter((call) => call === "switchToPostCopy@ha").length, 1);
  });

  it("is refused in a live migration", async () => {
    const migrationId = await start();
    await refuses(api.switchToPostCopy({ migrationId }), "FAILED_PRECONDITION", "NOT_POST_COPY");
    world.hosts.moveCpus();
    await ended();
  });

  it("is refused while the guest is to stay", async () => {
    const migrationId = await start(POST_COPY_LATE);
    world.hosts.held = "cancelTransfer";
    await api.cancelMigration({ migrationId });
    await refuses(api.switchToPostCopy({ migrationId }), "FAILED_PRECONDITION", "ENDING");
    world.hosts.release();
    assert.equal((await ended())?.phase, Phase.CANCELLED);
  });
});

describe("pausing and recovering", () => {
  it("holds the transfer until it is recovered, and both may be repeated", async () => {
    const migrationId = await toPostCopy();
    for (const _ of [1, 2]) await api.pauseMigration({ migrationId });
    await world.untilPhase("web-7", "POST_COPY_PAUSED");
    const laterUnixUs = world.clock.unixUs() + 40_000_000;
    await world.until(() => world.clock.unixUs() >= laterUnixUs, "time passes");
    const { migration } = await api.getMigration({ migrationId });
    assert.equal(migration?.reasonCode, "PAUSED_BY_CALLER");
    for (const _ of [1, 2]) await api.recoverMigration({ migrationId });
    await world.untilPhase("web-7", "POST_COPY");
    world.hosts.finishPages();
    assert.equal((await ended())?.outcome, Outcome.RUNS_ON_DESTINATION);
  });

  it("is asked of any coordinator: one that has not heard of the pause yet reads of it first", async () => {
    const migrationId = await toPostCopy();
    const runner = world.startRunner();
    const before = await world.store.get(GUEST);
    await api.pauseMigration({ migrationId });
    if (before !== null) runner.take(before);
    await apiOf(runner).recoverMigration({ migrationId });
    assert.equal((await world.store.get(GUEST))?.record.migration?.pauseHeld, false);
  });

  it("is refused where there is nothing to pause or to recover", async () => {
    const migrationId = await start();
    await refuses(api.pauseMigration({ migrationId }), "FAILED_PRECONDITION", "NOT_POST_COPY");
    await refuses(api.recoverMigration({ migrationId }), "FAILED_PRECONDITION", "NOT_PAUSED");
    await api.cancelMigration({ migrationId });
    await ended();
    await refuses(api.pauseMigration({ migrationId }), "FAILED_PRECONDITION", "MIGRATION_ENDED");
  });
});

describe("resolving a migration", () => {
  const nothing = { deadHostIds: [], resolution: Resolution.UNSPECIFIED };

  it("is refused for what can never be right, naming the field", async () => {
    const migrationId = await start();
    const wrong = [
      [{ ...nothing }, "REQUIRED", "resolution"],
      [{ ...nothing, resolution: 99 as Resolution }, "UNKNOWN_VALUE", "resolution"],
      [{ ...nothing, deadHostIds: ["hb", "h b"] }, "MALFORMED", "dead_host_ids[1]"],
      [{ ...nothing, deadHostIds: ["hb", "hc"] }, "NOT_A_HOST_OF_THE_MIGRATION", "dead_host_ids[1]"],
      [{ deadHostIds: ["ha"], resolution: Resolution.RESUME_SOURCE }, "SOURCE_DEAD", "resolution"],
      [{ deadHostIds: ["ha"], resolution: Resolution.GUEST_LOST }, "OTHER_HOST_MAY_RUN_IT", "resolution"],
      [{ deadHostIds: ["hb"], resolution: Resolution.GUEST_LOST }, "OTHER_HOST_MAY_RUN_IT", "resolution"],
    ] as const;
    for (const [asked, reason, field] of wrong) {
      const call = api.resolveMigration({ migrationId, ...asked, deadHostIds: [...asked.deadHostIds] });
      await refuses(call, "INVALID_ARGUMENT", reason, field);
    }
    for (const resolution of [Resolution.RESUME_SOURCE, Resolution.GUEST_LOST]) {
      const call = api.resolveMigration({ ...nothing, migrationId, resolution });
      await refuses(call, "FAILED_PRECONDITION", "NOT_AMBIGUOUS");
    }
    world.hosts.moveCpus();
    await ended();
  });

  it("lets a destination that has loaded the guest start it once the source is dead, and may be repeated", async () => {
    const migrationId = await toAmbiguous();
    const asked = { migrationId, deadHostIds: ["ha"], resolution: Resolution.UNSPECIFIED };
    await api.resolveMigration(asked);
    assert.equal((await ended())?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal((await api.resolveMigration(asked)).migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    const other = { ...asked, deadHostIds: ["hb"] };
    await refuses(api.resolveMigration(other), "FAILED_PRECONDITION", "MIGRATION_ENDED");
  });

  it("has the source run the guest again once the destination has said that it never will", async () => {
    const migrationId = await toAmbiguous();
    const asked = { ...nothing, migrationId, resolution: Resolution.RESUME_SOURCE };
    assert.equal((await api.resolveMigration(asked)).migration?.phase, Phase.HANDING_BACK);
    world.hosts.setReachable("ha", true);
    const migration = await ended();
    assert.equal(migration?.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal((await api.resolveMigration(asked)).migration?.outcome, Outcome.RUNS_ON_SOURCE);
    assert.ok(world.hosts.calls.includes("handBack@hb") && world.hosts.calls.includes("resumeSource@ha"));
  });

  it("does not give up a guest that one host's death lets the other start", async () => {
    const migrationId = await toAmbiguous();
    const asked = { migrationId, deadHostIds: ["ha"], resolution: Resolution.GUEST_LOST };
    await refuses(api.resolveMigration(asked), "INVALID_ARGUMENT", "OTHER_HOST_MAY_RUN_IT", "resolution");
    assert.ok(!world.hosts.calls.includes("deliverHandOff@hb"), "something was stated all the same");
    await api.resolveMigration({ ...asked, resolution: Resolution.UNSPECIFIED });
    assert.equal((await ended())?.outcome, Outcome.RUNS_ON_DESTINATION);
  });

  it("gives the guest up with both hosts", async () => {
    const migrationId = await toAmbiguous();
    const asked = { migrationId, deadHostIds: ["ha", "hb"], resolution: Resolution.GUEST_LOST };
    assert.equal((await api.resolveMigration(asked)).migration?.outcome, Outcome.GUEST_LOST);
    await ended();
    assert.equal((await api.resolveMigration(asked)).migration?.outcome, Outcome.GUEST_LOST);
  });

  it("gives the guest up when that is stated", async () => {
    const migrationId = await toAmbiguous();
    const asked = { ...nothing, migrationId, resolution: Resolution.GUEST_LOST };
    const { migration } = await api.resolveMigration(asked);
    assert.equal(migration?.outcome, Outcome.GUEST_LOST);
    assert.match(migration?.reason ?? "", /^The guest is lost\. An operator gave the guest up/);
    await ended();
    assert.equal((await api.resolveMigration(asked)).migration?.outcome, Outcome.GUEST_LOST);
  });
});
