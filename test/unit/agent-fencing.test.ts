import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import type { Fence } from "../../proto/epoch.ts";
import { Applied, MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { HandBackAnswer } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { DESTINATION, FENCE, GUEST, handOff, MIGRATION, SOURCE } from "./guest-gate.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";

const INSTANCE = "b1" as InstanceId;
const OTHER = "b0" as InstanceId;
const OLDER: Fence = { epoch: FENCE.epoch, revision: FENCE.revision - 1n };
const NICS_PREPARED: JournalWord = { kind: "nicsPrepared", nics: [], prepared: [] };
const ADOPTED: JournalWord = { kind: "adopted", qmpPath: "/qmp" };
const FORGOTTEN: JournalWord = { kind: "forgotten" };
const CONT_SENT: JournalWord = { kind: "contSent", fence: FENCE };
const PREPARED: JournalWord = {
  kind: "prepared",
  fence: FENCE,
  migrationId: MIGRATION,
  sourceHostId: SOURCE,
  mode: "live",
  bootId: "boot-1",
};
const UNKNOWN = { code: "NOT_FOUND", reason: "INSTANCE_UNKNOWN" };
const STALE = { code: "ABORTED", reason: "STALE_FENCE" };

/** An agent that has come back to a journal, with a VMM on its socket. */
async function agentOf(
  words: readonly (readonly [InstanceId, JournalWord])[],
  runState: "inmigrate" | "running" | "paused" | "postmigrate",
) {
  const journals = new MemoryJournals(words);
  const agent = new HostAgent(pretendedAgentPorts("hb", journals, new PretendedVmm(runState)));
  await agent.restored;
  return { agent, journals };
}

/** All that needs no clock has happened. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}

function call(fence: Fence = FENCE) {
  return { guestId: GUEST, instanceId: INSTANCE, migrationId: MIGRATION, fence };
}

describe("the word that a guest never started", () => {
  it("is not given by a host that does not know the instance: it may run there", async () => {
    for (const words of [[], [[OTHER, NICS_PREPARED]]] as const) {
      const { agent, journals } = await agentOf(words, "running");
      const before = journals.said();
      await assert.rejects(agent.handBack(call()), UNKNOWN);
      assert.deepEqual(journals.said(), before);
    }
  });

  it("is given, once, for an instance that is gone and never started", async () => {
    const { agent, journals } = await agentOf(
      [
        [INSTANCE, NICS_PREPARED],
        [INSTANCE, FORGOTTEN],
      ],
      "running",
    );
    for (let asked = 0; asked < 2; asked += 1) {
      assert.deepEqual(await agent.handBack(call()), { answer: HandBackAnswer.HANDED_BACK, vmmLost: false });
    }
    assert.deepEqual(journals.said().slice(2), ["b1 handedBack"]);
  });

  it("is refused for one that is gone and started, or may have before its host died", async () => {
    const elsewhen = { ...PREPARED, bootId: "boot-0" } as const;
    for (const last of [CONT_SENT, elsewhen]) {
      const words = [NICS_PREPARED, PREPARED, last, FORGOTTEN].map((word) => [INSTANCE, word] as const);
      const { agent } = await agentOf(words, "running");
      assert.deepEqual(await agent.handBack(call()), { answer: HandBackAnswer.TOO_LATE, vmmLost: true });
    }
  });

  it("waits for the VMM's, which was told to start the guest and has not said that it does", async () => {
    const journals = new MemoryJournals(
      [NICS_PREPARED, ADOPTED, PREPARED].map((word) => [INSTANCE, word] as const),
    );
    const vmm = new PretendedVmm("inmigrate");
    vmm.starts = "waits";
    const clock = new VirtualClock();
    const agent = new HostAgent(pretendedAgentPorts("hb", journals, vmm, { clock }));
    await agent.restored;
    await agent.deliverHandOff({ ...call(), handOff: handOff({}) });
    vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: "completed" }, "paused");
    const ask = async (meanwhile: () => void) => {
      const asked = agent.handBack(call()).then(
        ({ answer }) => answer,
        ({ reason }) => reason,
      );
      await settled();
      meanwhile();
      await settled();
      clock.advance(5_000);
      return await asked;
    };
    await settled();
    assert.deepEqual(vmm.commands, ["cont"]);
    assert.equal(await ask(() => {}), "STILL_WAITING");
    assert.equal(await ask(() => vmm.refusesStart()), HandBackAnswer.HANDED_BACK);
    assert.ok(journals.said().includes("b1 handedBack"));
  });

  it("is not given, nor called too late, where a stopped guest was never this migration's", async () => {
    const words = [NICS_PREPARED, ADOPTED].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(words, "paused");
    await assert.rejects(agent.handBack(call()), { code: "FAILED_PRECONDITION", reason: "NOT_DESTINATION" });
    const running = await agentOf(words, "running");
    assert.deepEqual(await running.agent.handBack(call()), {
      answer: HandBackAnswer.TOO_LATE,
      vmmLost: false,
    });
  });
});

describe("what one side is asked is refused by the other", () => {
  const ARMED: JournalWord = {
    kind: "armed",
    fence: FENCE,
    migrationId: MIGRATION,
    destinationHostId: DESTINATION,
    mode: "live",
    pointOfNoReturn: "completed",
    runState: "running",
  };

  it("a destination that started the guest has nothing to keep", async () => {
    const words = [NICS_PREPARED, ADOPTED, PREPARED, CONT_SENT, { kind: "started", fence: FENCE } as const];
    const { agent, journals } = await agentOf(
      words.map((word) => [INSTANCE, word] as const),
      "running",
    );
    await assert.rejects(agent.cancelTransfer(call()), { code: "FAILED_PRECONDITION", reason: "NOT_SOURCE" });
    assert.ok(!journals.said().includes("b1 kept"));
  });

  it("a source that runs the guest has not started it as a destination", async () => {
    const words = [NICS_PREPARED, ADOPTED, ARMED].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(words, "running");
    await assert.rejects(agent.handBack(call()), { code: "FAILED_PRECONDITION", reason: "NOT_DESTINATION" });
  });
});

describe("a source that is asked for its word", () => {
  const armed = (epoch: bigint): JournalWord => ({
    kind: "armed",
    fence: { epoch, revision: 1n },
    migrationId: MIGRATION,
    destinationHostId: DESTINATION,
    mode: "live",
    pointOfNoReturn: "completed",
    runState: "running",
  });

  it("says that it gave none where it was armed, and that it does not know where its journal lacks that", async () => {
    const words = [NICS_PREPARED, ADOPTED, armed(FENCE.epoch)].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(words, "running");
    assert.equal((await agent.getHandOff(call())).handOff, undefined);
    const unknown = { code: "NOT_FOUND", reason: "WORD_FORGOTTEN" };
    await assert.rejects(agent.getHandOff(call({ epoch: FENCE.epoch + 1n, revision: 1n })), unknown);
    const { agent: forgetful } = await agentOf([], "running");
    await assert.rejects(forgetful.getHandOff(call()), unknown);
  });
});

describe("a source whose VMM stands where its last transfer left it", () => {
  it("is refused before anything is armed: QEMU begins no transfer of it", async () => {
    const words = [NICS_PREPARED, ADOPTED].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(words, "postmigrate");
    const { refusals } = await agent.preflight({
      guestId: GUEST,
      instanceId: INSTANCE,
      role: MigrationRole.SOURCE,
      mode: MigrationMode.LIVE,
    });
    assert.deepEqual(
      refusals.map(({ reason }) => reason),
      ["VMM_POSTMIGRATE"],
    );
  });
});

describe("aborting a destination", () => {
  it("that is only prepared obeys the fence, and is journaled before its devices go", async () => {
    const words = [
      [OTHER, { kind: "declined", fence: FENCE }],
      [INSTANCE, NICS_PREPARED],
    ] as const;
    const { agent, journals } = await agentOf(words, "running");
    await assert.rejects(agent.abortDestination(call(OLDER)), STALE);
    assert.deepEqual(await agent.abortDestination(call()), { applied: Applied.CHANGED });
    assert.deepEqual(journals.said().slice(2), ["b1 handedBack", "b1 forgotten"]);
    assert.deepEqual(await agent.abortDestination(call()), { applied: Applied.ALREADY_SO });
  });

  it("that nobody knows is done already", async () => {
    const { agent } = await agentOf([], "running");
    assert.deepEqual(await agent.abortDestination(call()), { applied: Applied.ALREADY_SO });
    await assert.rejects(agent.abortDestination({ ...call(), fence: undefined }), {
      code: "INVALID_ARGUMENT",
    });
  });

  it("is refused by an instance that has a guest of its own, with another reason than by one that started it", async () => {
    const own = [NICS_PREPARED, ADOPTED].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(own, "running");
    await assert.rejects(agent.abortDestination(call()), { reason: "NOT_DESTINATION" });
    const started = [NICS_PREPARED, ADOPTED, PREPARED, CONT_SENT].map((word) => [INSTANCE, word] as const);
    const other = await agentOf(started, "running");
    await assert.rejects(other.agent.abortDestination(call()), { reason: "CONT_SENT" });
  });
});

describe("a fence outlives the agent that saw it", () => {
  const arm = (fence: Fence) => ({
    ...call(fence),
    mode: MigrationMode.LIVE,
    destinationHostId: DESTINATION,
    transfer: undefined,
  });

  it("where another instance of the guest acted on it", async () => {
    const words = [
      [OTHER, { kind: "handedBack", fence: FENCE, sentence: "" }],
      [INSTANCE, NICS_PREPARED],
      [INSTANCE, ADOPTED],
    ] as const;
    const { agent } = await agentOf(words, "running");
    await assert.rejects(agent.armSource(arm(OLDER)), STALE);
  });

  it("where the command that carried it changed nothing else", async () => {
    const words = [NICS_PREPARED, ADOPTED].map((word) => [INSTANCE, word] as const);
    const { agent, journals } = await agentOf(words, "running");
    await agent.armSource(arm(FENCE));
    const newer: Fence = { epoch: FENCE.epoch, revision: FENCE.revision + 4n };
    await assert.rejects(agent.pauseMigration(call(newer)), { code: "FAILED_PRECONDITION" });
    agent.close();
    const restarted = await agentOf(
      journals.entries.map(({ instanceId, word }) => [instanceId, word] as const),
      "running",
    );
    await assert.rejects(restarted.agent.pauseMigration(call(FENCE)), STALE);
  });
});

describe("a word that is delivered", () => {
  it("must be about the guest and of the epoch of the command that brings it", async () => {
    const words = [NICS_PREPARED, ADOPTED, PREPARED].map((word) => [INSTANCE, word] as const);
    const { agent } = await agentOf(words, "inmigrate");
    const deliver = (changes: Parameters<typeof handOff>[0]) =>
      agent.deliverHandOff({ ...call(), handOff: handOff(changes) });
    const mismatch = { code: "INVALID_ARGUMENT", reason: "MISMATCH" };
    await assert.rejects(deliver({ guestId: "db" }), { ...mismatch, field: "hand_off.guest_id" });
    const higher = { epoch: FENCE.epoch + 1n, revision: 1n };
    await assert.rejects(deliver({ fence: higher }), { ...mismatch, field: "hand_off.fence.epoch" });
    assert.deepEqual(await deliver({}), { applied: Applied.CHANGED, takenOver: undefined });
    assert.deepEqual(await deliver({}), { applied: Applied.ALREADY_SO, takenOver: undefined });
  });

  for (const [taken, word, runState] of [
    ["started the guest", CONT_SENT, "running"],
    ["took it over as it stood", { kind: "takenOverPaused", fence: FENCE }, "paused"],
  ] as const) {
    it(`is answered by who ${taken} that it did, also after a restart`, async () => {
      const words = [NICS_PREPARED, ADOPTED, PREPARED, word].map((said) => [INSTANCE, said] as const);
      const { agent } = await agentOf(words, runState);
      const { applied, takenOver } = await agent.deliverHandOff({ ...call(), handOff: handOff({}) });
      assert.equal(applied, Applied.ALREADY_SO);
      assert.equal(takenOver?.runState, runState);
    });
  }

  it("has what is older come too late, also where the guest was taken over before, and after a restart", async () => {
    const words = [NICS_PREPARED, ADOPTED, PREPARED, CONT_SENT].map((said) => [INSTANCE, said] as const);
    const { agent, journals } = await agentOf(words, "running");
    const stated: Fence = { epoch: FENCE.epoch + 1n, revision: 4n };
    const fence: Fence = { epoch: stated.epoch, revision: 9n };
    const { applied } = await agent.deliverHandOff({ ...call(fence), handOff: handOff({ fence: stated }) });
    assert.equal(applied, Applied.ALREADY_SO);
    await assert.rejects(agent.pauseMigration(call(FENCE)), STALE);
    await assert.rejects(agent.pauseMigration(call({ ...fence, revision: 8n })), STALE);
    agent.close();
    const restarted = await agentOf(
      journals.entries.map(({ instanceId, word }) => [instanceId, word] as const),
      "running",
    );
    await assert.rejects(restarted.agent.pauseMigration(call({ ...fence, revision: 8n })), STALE);
  });
});
