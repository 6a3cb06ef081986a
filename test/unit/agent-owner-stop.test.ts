/** An owner's stop of a guest that stands already, by a switchover that came to nothing. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
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
