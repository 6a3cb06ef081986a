import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { FENCE, GUEST, handOff, MIGRATION } from "./guest-gate.ts";
import { ADOPTED, ARMED, BEGUN } from "./journaled-words.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";

const INSTANCE = "a1" as InstanceId;
const HANDED_OFF: readonly JournalWord[] = [
  ...ADOPTED,
  ARMED,
  BEGUN,
  { kind: "handedOff", handOff: handOff() },
];

describe("a source that handed its guest off", () => {
  it("has it run again once it is given back, also while it stops it for running without the right", async () => {
    const journals = new MemoryJournals(HANDED_OFF.map((word) => [INSTANCE, word] as const));
    const vmm = new PretendedVmm("postmigrate");
    let stranger: "away" | "there" = "away";
    const agent = new HostAgent(
      pretendedAgentPorts("ha", journals, vmm, {
        openVmm: async (_path, hear) => {
          const opened = vmm.open(hear);
          // As QMP answers: after the commands that were sent before.
          const queryStatus = async () => {
            await new Promise(setImmediate);
            const status = await opened.queryStatus();
            if (stranger === "there") vmm.suffers({ kind: "resume" }, "running");
            stranger = "away";
            return status;
          };
          return { ...opened, queryStatus };
        },
      }),
    );
    await agent.restored;
    stranger = "there";
    const fence = { epoch: FENCE.epoch + 1n, revision: 1n };
    const call = { guestId: GUEST, instanceId: INSTANCE, migrationId: MIGRATION, fence };
    const resumed = await agent.resumeSource({ ...call, runState: "running" });
    assert.deepEqual(resumed, { applied: Applied.CHANGED, runState: "running" });
    assert.deepEqual(vmm.commands, ["stop", "cont"]);
    assert.deepEqual(journals.said().slice(HANDED_OFF.length), ["a1 retaken", "a1 started"]);
  });
});
