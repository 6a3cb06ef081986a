import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { Drain, DrainPhase, DrainSpec } from "../../proto/gen/switchover/v1/drain.ts";
import type { MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;

describe("a validate_only StartMigration", () => {
  let world: World;
  let runner: MigrationRunner;
  let draining: DrainingHosts;
  let api: MigrationApi;

  beforeEach(() => {
    world = new World();
    runner = world.startRunner();
    draining = new DrainingHosts();
    const hosts = {
      get: async (hostId: string) => (hostId === "hx" ? null : HostRecord.create({ hostId })),
    };
    const { store, clock, hosts: agents } = world;
    api = new MigrationApi({
      store,
      hosts,
      agents,
      clock,
      random: () => 0.5,
      runner,
      admission: OPEN_DOOR,
      draining,
      moveBudget: null,
    });
  });
  afterEach(() => world.close());

  const validate = (requestId = "r1", change: Partial<MigrationSpec> = {}) =>
    api.startMigration({ requestId, spec: specOf(change), validateOnly: true });

  async function refusalsOf(change: Partial<MigrationSpec> = {}): Promise<string[]> {
    const { refusals } = await validate("r1", change);
    return refusals.map(({ code, reason, field, hostId }) => [code, reason, field, hostId].join(" "));
  }

  it("tells that nothing refuses, and stores, claims and commands nothing", async () => {
    assert.deepEqual(await validate(), { migration: undefined, refusals: [] });
    assert.equal(await world.store.get(GUEST), null);
    assert.deepEqual(world.hosts.calls, ["preflight@ha", "preflight@hb"]);
  });

  it("is refused as malformed before any host is asked", async () => {
    await assert.rejects(validate("r1", { guestId: "web.7" }), { code: "INVALID_ARGUMENT" });
    assert.deepEqual(world.hosts.calls, []);
  });

  it("tells all that both hosts refuse, and not only the first", async () => {
    const refusal = (reason: string, field = "") => ({ reason, sentence: `${reason}.`, field });
    world.hosts.refuses.set("ha", [refusal("VMM_POSTMIGRATE", "instance_id")]);
    world.hosts.refuses.set("hb", [refusal("MAC_IN_USE", "nics[0].mac_address"), refusal("VMM_BUSY")]);
    assert.deepEqual(await refusalsOf(), [
      "FAILED_PRECONDITION VMM_POSTMIGRATE instance_id ha",
      "FAILED_PRECONDITION MAC_IN_USE nics[0].mac_address hb",
      "FAILED_PRECONDITION VMM_BUSY  hb",
    ]);
  });

  it("tells of a host without an agent, and of one that does not answer", async () => {
    world.hosts.setReachable("ha", false);
    assert.deepEqual(await refusalsOf({ destinationHostId: "hx" }), [
      "UNAVAILABLE HOST_SILENT spec.source_host_id ha",
      "NOT_FOUND HOST_UNKNOWN spec.destination_host_id hx",
    ]);
  });

  it("tells of a destination that is being drained", async () => {
    const spec = DrainSpec.fromPartial({ hostId: "hb" });
    const drain = Drain.fromPartial({ drainId: "hb-000000000000", spec, phase: DrainPhase.DRAINING });
    draining.hear(drain);
    assert.deepEqual(await refusalsOf(), ["FAILED_PRECONDITION HOST_DRAINING spec.destination_host_id hb"]);
    draining.hear({ ...drain, phase: DrainPhase.DRAINED });
    assert.deepEqual(await refusalsOf(), []);
  });

  it("tells of NICs that only one host has", async () => {
    const nic = NicDefinition.fromPartial({ nicId: "net0", macAddress: "02:00:00:00:00:07" });
    world.hosts.nics.set("ha", [nic]);
    assert.deepEqual(await refusalsOf(), ["FAILED_PRECONDITION NIC_SETS_DIFFER  "]);
    world.hosts.nics.set("hb", [nic]);
    assert.deepEqual(await refusalsOf(), []);
  });

  it("tells of the migration that has the guest, beside what the hosts refuse", async () => {
    world.hosts.moves = "when told";
    await api.startMigration({ requestId: "r0", spec: specOf(), validateOnly: false });
    world.hosts.setReachable("hb", false);
    assert.deepEqual(await refusalsOf(), [
      "FAILED_PRECONDITION GUEST_BUSY spec.guest_id ",
      "UNAVAILABLE HOST_SILENT spec.destination_host_id hb",
    ]);
  });

  it("is answered with the migration that the same request made, and refused where it asked for another", async () => {
    const made = await api.startMigration({ requestId: "r1", spec: specOf(), validateOnly: false });
    const again = await validate();
    assert.equal(again.migration?.migrationId, made.migration?.migrationId);
    assert.deepEqual(again.refusals, []);
    assert.deepEqual((await refusalsOf({ destinationHostId: "hc" })).slice(0, 1), [
      "ALREADY_EXISTS REQUEST_REUSED request_id ",
    ]);
    await world.untilArchived("web-7");
    await api.startMigration({ requestId: "r2", spec: specOf(), validateOnly: false });
    assert.equal((await validate()).migration?.migrationId, made.migration?.migrationId);
  });
});
