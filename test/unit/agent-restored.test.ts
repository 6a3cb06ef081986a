/** What an agent that comes back does of itself, and tells. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { FENCE, handOff, MIGRATION, SOURCE } from "./guest-gate.ts";
import { ADOPTED, ARMED, BEGUN } from "./journaled-words.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";
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
const CONT_SENT: JournalWord = { kind: "contSent", fence: FENCE };
const STARTED: JournalWord = { kind: "started", fence: FENCE };

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
    const all = [...ADOPTED, ...words].map((word) => [INSTANCE, word] as const);
    this.journals = new MemoryJournals(all, this.clock.unixUs());
    this.vmm = new PretendedVmm(runState);
  }

  async start(ports: Partial<HostAgentPorts> = {}): Promise<void> {
    this.agent?.close();
    const { clock, journals, spool, stream: feed, vmm } = this;
    this.agent = new HostAgent(pretendedAgentPorts("ha", journals, vmm, { clock, spool, feed, ...ports }));
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

describe("what a journaled word made of a guest", () => {
  const cases: readonly {
    readonly kind: string;
    readonly words: readonly JournalWord[];
    readonly runState: RunState;
  }[] = [
    {
      kind: "handedOff",
      words: [ARMED, BEGUN, { kind: "handedOff", handOff: handOff() }],
      runState: "postmigrate",
    },
    {
      kind: "kept",
      words: [ARMED, BEGUN, { kind: "kept", fence: FENCE, runState: "running", cpus: "running" }],
      runState: "running",
    },
    { kind: "cpusStarted", words: [PREPARED, CONT_SENT, STARTED], runState: "running" },
    {
      kind: "takenOverPaused",
      words: [PREPARED, { kind: "takenOverPaused", fence: FENCE }],
      runState: "paused",
    },
    {
      kind: "sourceResumed",
      words: [
        ARMED,
        BEGUN,
        { kind: "handedOff", handOff: handOff() },
        { kind: "retaken", fence: { epoch: FENCE.epoch + 1n, revision: 1n }, runState: "paused" },
      ],
      runState: "postmigrate",
    },
  ];

  it("is told by an agent that comes back to it, and by none that comes after", async () => {
    for (const { kind, words, runState } of cases) {
      const host = new Restarting(words, runState);
      await host.start();
      assert.equal(host.told(kind), 1, kind);
      for (let starts = 0; starts < 2; starts += 1) await host.start();
      assert.equal(host.told(kind), 1, kind);
    }
  });

  it("is not told again where the VMM's socket closes and it answers anew, whatever became of the spool", async () => {
    for (const { kind, words, runState } of cases) {
      const host = new Restarting(words, runState);
      await host.start();
      host.spool.crash();
      host.vmm.disconnects();
      await host.pass(2_000);
      assert.equal(host.told(kind), 1, kind);
    }
  });

  it("is told once more where the spool was lost: who knows whether it was", async () => {
    for (const { kind, words, runState } of cases) {
      const host = new Restarting(words, runState);
      await host.start();
      host.spool = new PretendedSpoolStore();
      await host.start();
      assert.equal(host.told(kind), 2, kind);
    }
  });

  it("is told where another start was told that nobody had ordered", async () => {
    const host = new Restarting([PREPARED], "inmigrate");
    await host.start();
    host.vmm.suffers({ kind: "resume" }, "running");
    await host.pass(100);
    host.vmm.suffers({ kind: "stop" }, "paused");
    await host.pass(100);
    assert.equal(host.told("cpusStarted"), 1);
    host.agent?.close();
    for (const word of [CONT_SENT, STARTED]) {
      host.journals.write({ atUnixUs: host.clock.unixUs(), instanceId: INSTANCE, word });
    }
    await host.start();
    assert.equal(host.told("cpusStarted"), 2);
    await host.start();
    assert.equal(host.told("cpusStarted"), 2);
  });
});
