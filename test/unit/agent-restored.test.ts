/** What an agent that comes back does of itself, and tells. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { HostId, InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";
import { FENCE, MIGRATION, SOURCE } from "./guest-gate.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { PretendedFeedStream } from "./pretended-feed-stream.ts";
import { PretendedSpoolStore } from "./pretended-spool-store.ts";

const INSTANCE = "a1" as InstanceId;
const PREPARED: JournalWord = {
  kind: "prepared",
  fence: FENCE,
  migrationId: MIGRATION,
  sourceHostId: SOURCE,
  mode: "live",
  bootId: "boot-1",
};

type RunState = ConstructorParameters<typeof PretendedVmm>[0];

/** A host whose agent comes and goes, with a guest's journal, its VMM, the spool and the stream. */
class Restarting {
  readonly clock = new VirtualClock();
  readonly stream = new PretendedFeedStream();
  readonly journals: MemoryJournals;
  readonly vmm: PretendedVmm;
  spool = new PretendedSpoolStore();
  agent: HostAgent | null = null;

  constructor(words: readonly JournalWord[], runState: RunState = "inmigrate") {
    const adopted: readonly JournalWord[] = [
      { kind: "nicsPrepared", nics: [], prepared: [] },
      { kind: "adopted", qmpPath: "/qmp" },
    ];
    const all = [...adopted, ...words].map((word) => [INSTANCE, word] as const);
    this.journals = new MemoryJournals(all, this.clock.unixUs());
    this.vmm = new PretendedVmm(runState);
  }

  async start(ports: Partial<HostAgentPorts> = {}): Promise<void> {
    this.agent?.close();
    const silent = () => {};
    const kernel = new PretendedKernel();
    const { clock, journals, spool, stream, vmm } = this;
    this.agent = new HostAgent({
      hostId: "ha" as HostId,
      version: "",
      kernelRelease: "",
      bootId: "boot-1",
      migrationAddress: "10.0.0.1",
      journals,
      clock,
      log: { debug: silent, info: silent, warn: silent, error: silent },
      handOffs: { publish: silent, subscribe: () => silent },
      spool,
      feed: stream,
      devices: { route: kernel, factory: kernel },
      openVmm: async (_path, listener) => vmm.open(listener),
      ...ports,
    });
    await this.pass(2_000);
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) {
      this.clock.advance(100);
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    }
  }

  told(kind: string): number {
    return this.stream.messages.filter(({ event }) => event.event?.$case === kind).length;
  }
}

describe("a destination whose VMM answers nobody", () => {
  const busy = async () => {
    throw new SwitchoverError("UNAVAILABLE", "Another client has it.", { reason: "QMP_BUSY" });
  };

  it("is handed back by its journal alone, which has all that this boot of the host said", async () => {
    const host = new Restarting([PREPARED]);
    await host.start({ openVmm: busy });
    await host.pass(15_000);
    assert.deepEqual(host.journals.said().slice(3), ["a1 handedBack"]);
    assert.equal(host.told("handedBack"), 1);
  });

  it("is not, where another boot prepared it: the line that it started may be lost", async () => {
    const host = new Restarting([{ ...PREPARED, bootId: "boot-0" }]);
    await host.start({ openVmm: busy });
    await host.pass(15_000);
    assert.deepEqual(host.journals.said().slice(3), []);
    assert.equal(host.told("handedBack"), 0);
  });
});
