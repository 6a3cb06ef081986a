/** An owner's stop, and a coordinator's questions, of a guest that stands already, by a switchover that came to nothing. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import type { Vmm } from "../../agent/vmm/vmm.ts";
import { Applied, CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { FENCE, GUEST, MIGRATION } from "./guest-gate.ts";
import { ADOPTED, ARMED, BEGUN } from "./journaled-words.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";

const INSTANCE = "a1" as InstanceId;
const OWNER = { guestId: GUEST, instanceId: INSTANCE, runsNowhereElse: false };
const RESUME = { ...OWNER, migrationId: MIGRATION, fence: FENCE, runState: "running" };
const KEPT_WITH_CPUS_STOPPED: readonly JournalWord[] = [
  ...ADOPTED,
  ARMED,
  BEGUN,
  { kind: "kept", fence: FENCE, runState: "running", cpus: "stopped" },
];

/** A source whose transfer is under way: its VMM stops the guest for the switchover, and says `failed`. */
class FailingSource {
  readonly journals = new MemoryJournals([...ADOPTED, ARMED, BEGUN].map((word) => [INSTANCE, word] as const));
  readonly vmm = new PretendedVmm("running");
  readonly #unanswered: (() => void)[] = [];
  #agent: HostAgent | null = null;
  #answers: "at once" | "later" = "at once";

  async start(): Promise<HostAgent> {
    const openVmm: HostAgentPorts["openVmm"] = async (_path, hear) => {
      const opened = this.vmm.open(hear);
      const sendQueryStatus: Vmm["sendQueryStatus"] = (onAnswer) => {
        if (this.#answers === "at once") opened.sendQueryStatus(onAnswer);
        else this.#unanswered.push(() => opened.sendQueryStatus(onAnswer));
      };
      return { ...opened, sendQueryStatus };
    };
    this.#agent = new HostAgent(pretendedAgentPorts("ha", this.journals, this.vmm, { openVmm }));
    await this.#agent.restored;
    return this.#agent;
  }

  /** As its transfer ends it stands in this run state. */
  async fails(runState: "finish-migrate" | "postmigrate"): Promise<void> {
    this.vmm.suffers({ kind: "migrationStatusChanged", status: "active", statusText: "active" }, "running");
    this.vmm.suffers({ kind: "stop" }, "finish-migrate");
    await nextTurns();
    this.vmm.suffers({ kind: "migrationStatusChanged", status: "failed", statusText: "failed" }, runState);
  }

  /** Its VMM is too busy to say why it stopped. */
  answersLater(): void {
    this.#answers = "later";
  }

  answersNow(): void {
    this.#answers = "at once";
    for (const answer of this.#unanswered.splice(0)) answer();
  }

  async cpus(): Promise<CpuState | undefined> {
    const guest = await this.#agent?.getGuest({ guestId: GUEST });
    return guest?.instances[0]?.cpuState;
  }
}

async function nextTurns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

/** A source that kept its guest, with what the switchover had stopped still to be started. */
async function keptByItsSource() {
  const journals = new MemoryJournals(KEPT_WITH_CPUS_STOPPED.map((word) => [INSTANCE, word] as const));
  const vmm = new PretendedVmm("paused");
  vmm.suffers({ kind: "stop" }, "postmigrate");
  const agent = new HostAgent(pretendedAgentPorts("ha", journals, vmm));
  await agent.restored;
  return { agent, vmm, said: () => journals.said().slice(KEPT_WITH_CPUS_STOPPED.length) };
}

describe("a guest that its switchover had stopped, and that stayed", () => {
  it("is started again by its coordinator", async () => {
    const { agent, vmm } = await keptByItsSource();
    assert.deepEqual(await agent.resumeSource(RESUME), { applied: Applied.CHANGED, runState: "running" });
    assert.deepEqual(vmm.commands, ["cont"]);
  });

  it("is not, once its owner has stopped it, which is journaled before he is answered", async () => {
    const { agent, vmm, said } = await keptByItsSource();
    assert.equal((await agent.stopCpus(OWNER)).applied, Applied.CHANGED);
    assert.deepEqual(said(), ["a1 runStateNoted"]);
    assert.equal((await agent.stopCpus(OWNER)).applied, Applied.ALREADY_SO);
    const { applied, runState } = await agent.resumeSource(RESUME);
    assert.equal(applied, Applied.ALREADY_SO);
    assert.notEqual(runState, "running");
    assert.deepEqual(vmm.commands, []);
  });
});

describe("a guest whose transfer has just failed, and which QEMU is about to resume", () => {
  it("is stopped by its owner's order all the same, once it runs", async () => {
    const source = new FailingSource();
    const agent = await source.start();
    await source.fails("finish-migrate");
    const stopping = agent.stopCpus(OWNER);
    await nextTurns();
    source.vmm.suffers({ kind: "resume" }, "running");
    assert.equal((await stopping).applied, Applied.CHANGED);
    assert.equal(await source.cpus(), CpuState.STOPPED);
    assert.deepEqual(source.vmm.commands, ["stop"]);
  });
});

describe("a guest that was kept while the reason of its stop is still being read", () => {
  for (const [by, runState] of [
    ["the switchover's", "running"],
    ["its owner's, of one that QEMU had resumed,", "paused"],
  ] as const) {
    it(`is told of once it is known to be ${by} however often CancelTransfer asks`, async () => {
      const source = new FailingSource();
      const agent = await source.start();
      source.answersLater();
      await source.fails("postmigrate");
      if (runState === "paused") {
        source.vmm.suffers({ kind: "resume" }, "running");
        source.vmm.suffers({ kind: "stop" }, "paused");
      }
      const { runsNowhereElse: _, ...target } = OWNER;
      const call = { ...target, migrationId: MIGRATION, fence: FENCE };
      const asked = [agent.cancelTransfer(call), agent.cancelTransfer(call)];
      await nextTurns();
      source.answersNow();
      for (const { answer } of await Promise.all(asked)) {
        assert.deepEqual(answer, { $case: "kept", value: { runState, cpuState: CpuState.STOPPED } });
      }
    });
  }
});
