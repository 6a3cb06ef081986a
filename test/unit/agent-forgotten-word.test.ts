/** What an agent says and does of a guest that it adopts after a switchover, with nothing in its journal. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { parseMigrationProgress } from "../../agent/vmm/migration-progress.ts";
import type { Vmm } from "../../agent/vmm/vmm.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { Applied, MigrationRole, RightToRun } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { FENCE, GUEST, MIGRATION } from "./guest-gate.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";

const INSTANCE = "a1" as InstanceId;
const NICS_PREPARED: JournalWord = { kind: "nicsPrepared", nics: [], prepared: [] };
const CALL = { guestId: GUEST, instanceId: INSTANCE, migrationId: MIGRATION, fence: FENCE };
const OWNER = { guestId: GUEST, instanceId: INSTANCE, runsNowhereElse: false };
const RESUME = { ...CALL, runState: "running" };
const REFUSED = { code: "FAILED_PRECONDITION", reason: "WORD_FORGOTTEN" };

/** A host whose agent lost its state directory, and adopts what it finds. */
class Host {
  readonly journals = new MemoryJournals([[INSTANCE, NICS_PREPARED]]);
  readonly vmm: PretendedVmm;
  readonly #changed: Partial<Vmm>;

  constructor(runState: string, changed: Partial<Vmm> = {}) {
    this.vmm = new PretendedVmm("paused");
    this.vmm.suffers({ kind: "stop" }, runState);
    this.#changed = changed;
  }

  async start(): Promise<HostAgent> {
    const agent = new HostAgent(
      pretendedAgentPorts("ha", this.journals, this.vmm, {
        openVmm: async (_path, hear) => ({ ...this.vmm.open(hear), ...this.#changed }),
      }),
    );
    await agent.restored;
    return agent;
  }

  async adopted(): Promise<HostAgent> {
    const agent = await this.start();
    await agent.adoptGuest({
      guestId: GUEST,
      instanceId: INSTANCE,
      qmpPath: "/qmp",
      externalCpuSource: undefined,
    });
    return agent;
  }

  said(): string[] {
    return this.journals.said().slice(2);
  }
}

async function rightOf(agent: HostAgent): Promise<RightToRun | undefined> {
  const { instances } = await agent.getGuest({ guestId: GUEST });
  return instances[0]?.rightToRun;
}

describe("a guest that is adopted after a switchover of which the journal says nothing", () => {
  for (const runState of ["finish-migrate", "postmigrate"]) {
    it(`may have been given away: in ${runState} it is neither kept, started, stopped nor migrated, also by an agent that comes back`, async () => {
      const host = new Host(runState);
      for (const agent of [await host.adopted(), await host.start()]) {
        assert.equal(await rightOf(agent), RightToRun.AWAITED);
        await assert.rejects(agent.cancelTransfer(CALL), { code: "NOT_FOUND", reason: "WORD_FORGOTTEN" });
        await assert.rejects(agent.startCpus(OWNER), REFUSED);
        await assert.rejects(agent.stopCpus(OWNER), REFUSED);
        const asked = { ...CALL, role: MigrationRole.SOURCE, mode: MigrationMode.LIVE };
        const { refusals } = await agent.preflight(asked);
        assert.deepEqual(
          refusals.map(({ reason }) => reason),
          ["WORD_FORGOTTEN"],
        );
      }
      assert.deepEqual([host.said(), host.vmm.commands], [[], []]);
    });
  }

  it("may be another host's too where its VMM has sent it, and somebody had it run since", async () => {
    const queryMigrate = async () => parseMigrationProgress({ status: "completed", ram: { transferred: 1 } });
    const host = new Host("paused", { queryMigrate });
    assert.equal(await rightOf(await host.adopted()), RightToRun.AWAITED);
    const failed = new Host("paused", {
      queryMigrate: async () => parseMigrationProgress({ status: "failed", ram: { transferred: 1 } }),
    });
    assert.equal(await rightOf(await failed.adopted()), RightToRun.HELD);
    assert.equal(await rightOf(await new Host("running", { queryMigrate }).adopted()), RightToRun.HELD);
  });

  for (const status of ["completed", "postcopy-active", "postcopy-paused"]) {
    it(`may be its source's still where its VMM has received it and says ${status}: it is not started as its own`, async () => {
      const queryMigrate = async () => parseMigrationProgress({ status });
      const host = new Host("paused", { queryMigrate });
      for (const agent of [await host.adopted(), await host.start()]) {
        assert.equal(await rightOf(agent), RightToRun.AWAITED);
        await assert.rejects(agent.startCpus(OWNER), REFUSED);
      }
      assert.deepEqual(host.vmm.commands, []);
    });
  }

  for (const runState of ["paused", "io-error", "prelaunch"]) {
    it(`was loaded in ${runState}, from a file or by a migration, and is its owner's by his statement`, async () => {
      const queryMigrate = async () => parseMigrationProgress({ status: "completed" });
      const host = new Host(runState, { queryMigrate });
      const agent = await host.adopted();
      await agent.startCpus({ ...OWNER, runsNowhereElse: true });
      assert.deepEqual([host.said(), host.vmm.commands], [["a1 retaken", "a1 started"], ["cont"]]);
      assert.equal(await rightOf(agent), RightToRun.HELD);
    });
  }

  for (const status of ["setup", "active", "postcopy-active"]) {
    it(`may be its source's still where its VMM was adopted in ${status} and has loaded it since`, async () => {
      let now: string = status;
      const queryMigrate = async () => parseMigrationProgress({ status: now });
      const host = new Host("inmigrate", { queryMigrate });
      const agent = await host.adopted();
      now = "completed";
      host.vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: now }, "paused");
      await assert.rejects(agent.startCpus(OWNER), REFUSED);
      const back = await host.start();
      await assert.rejects(back.startCpus(OWNER), REFUSED);
      assert.deepEqual(host.vmm.commands, []);
      await back.startCpus({ ...OWNER, runsNowhereElse: true });
      assert.deepEqual([host.said()[0], host.vmm.commands], ["a1 retaken", ["cont"]]);
    });
  }

  it("is started by his statement also where its agent has run all the while", async () => {
    let status = "active";
    const host = new Host("inmigrate", { queryMigrate: async () => parseMigrationProgress({ status }) });
    const agent = await host.adopted();
    status = "completed";
    host.vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: status }, "paused");
    await agent.startCpus({ ...OWNER, runsNowhereElse: true });
    assert.deepEqual([host.said()[0], host.vmm.commands], ["a1 retaken", ["cont"]]);
  });

  it("is its owner's without a word where he had it load a file after it was adopted", async () => {
    let status = "none";
    const host = new Host("inmigrate", { queryMigrate: async () => parseMigrationProgress({ status }) });
    const agent = await host.adopted();
    status = "completed";
    host.vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: status }, "paused");
    await agent.startCpus(OWNER);
    assert.deepEqual(host.vmm.commands, ["cont"]);
  });

  it("is taken back by a coordinator that has the destination's word, journaled before it is started", async () => {
    const host = new Host("postmigrate");
    const agent = await host.adopted();
    assert.deepEqual(await agent.resumeSource(RESUME), { applied: Applied.CHANGED, runState: "running" });
    assert.deepEqual(host.said(), ["a1 retaken", "a1 started"]);
    assert.equal(await rightOf(agent), RightToRun.HELD);
    assert.deepEqual(await agent.resumeSource(RESUME), { applied: Applied.ALREADY_SO, runState: "running" });
    assert.deepEqual(host.vmm.commands, ["cont"]);
  });

  it("stays stopped from then on where its owner stops it, also for an agent that comes back", async () => {
    const host = new Host("postmigrate");
    const agent = await host.adopted();
    await agent.resumeSource(RESUME);
    await agent.stopCpus(OWNER);
    assert.equal(await rightOf(await host.start()), RightToRun.HELD);
    assert.deepEqual(host.vmm.commands, ["cont", "stop"]);
  });

  it("is taken back stopped where its owner had stopped it", async () => {
    const host = new Host("postmigrate");
    const agent = await host.adopted();
    const { applied } = await agent.resumeSource({ ...RESUME, runState: "paused" });
    assert.equal(applied, Applied.ALREADY_SO);
    assert.deepEqual([host.said(), host.vmm.commands], [["a1 retaken"], []]);
    await agent.startCpus(OWNER);
    assert.deepEqual(host.vmm.commands, ["cont"]);
  });

  it("is its owner's again by his statement that it runs nowhere else", async () => {
    const host = new Host("postmigrate");
    const agent = await host.adopted();
    const { applied } = await agent.startCpus({ ...OWNER, runsNowhereElse: true });
    assert.equal(applied, Applied.CHANGED);
    assert.deepEqual([host.said()[0], host.vmm.commands], ["a1 retaken", ["cont"]]);
  });

  it("is its owner's where its CPUs run by themselves, whatever becomes of them later", async () => {
    const host = new Host("finish-migrate");
    const agent = await host.adopted();
    host.vmm.suffers({ kind: "resume" }, "running");
    assert.equal(await rightOf(agent), RightToRun.HELD);
    host.vmm.suffers({ kind: "stop" }, "postmigrate");
    assert.equal(await rightOf(await host.start()), RightToRun.HELD);
  });

  it("is another thing than one that its owner saves under the gate, which it keeps", async () => {
    const host = new Host("running");
    const agent = await host.adopted();
    host.vmm.suffers({ kind: "stop" }, "postmigrate");
    assert.equal(await rightOf(agent), RightToRun.HELD);
    assert.equal((await agent.cancelTransfer(CALL)).answer?.$case, "kept");
  });
});

describe("a guest that is adopted in post-copy", () => {
  const inPostCopy = (migrateCancel: () => Promise<void>): Partial<Vmm> => ({
    queryMigrate: async () => parseMigrationProgress({ status: "postcopy-active" }),
    migrateCancel,
  });

  it("is declined, and that journaled, where its VMM refuses to give the transfer up: it may run elsewhere then", async () => {
    const refuses = async () => {
      throw new SwitchoverError("FAILED_PRECONDITION", "No.", { reason: "QMP_REFUSED" });
    };
    const host = new Host("finish-migrate", inPostCopy(refuses));
    const agent = await host.adopted();
    const noWayBack = { code: "FAILED_PRECONDITION", reason: "NO_WAY_BACK" };
    await assert.rejects(agent.startCpus({ ...OWNER, runsNowhereElse: true }), noWayBack);
    assert.deepEqual(host.said(), []);
    await assert.rejects(agent.resumeSource(RESUME), noWayBack);
    await assert.rejects(agent.resumeSource(RESUME), noWayBack);
    assert.deepEqual([host.said(), host.vmm.commands], [["a1 declined"], []]);
    assert.equal((await agent.releaseSource(CALL)).applied, Applied.CHANGED);
    assert.equal((await agent.releaseSource(CALL)).applied, Applied.ALREADY_SO);
    assert.deepEqual(host.said(), ["a1 declined", "a1 released"]);
  });

  it("is started once the transfer was given up", async () => {
    let status = "postcopy-active";
    const host: Host = new Host("finish-migrate", {
      queryMigrate: async () => parseMigrationProgress({ status }),
      migrateCancel: async () => {
        status = "cancelled";
        host.vmm.suffers({ kind: "stop" }, "postmigrate");
      },
    });
    const agent = await host.adopted();
    await agent.resumeSource(RESUME);
    assert.deepEqual([status, host.said()[0], host.vmm.commands], ["cancelled", "a1 retaken", ["cont"]]);
  });
});
