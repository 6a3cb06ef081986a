import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { ProcessLife, VmmProcess } from "../../agent/vmm/vmm-process.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { skipWithout } from "../resource.ts";
import { type Bench, MAC, prepare, withAgent } from "./agent-bench.ts";
import { eventually, fdbOf } from "./host-state.ts";
import { PretendedVmm } from "./pretended-vmm.ts";

const PROCESS: VmmProcess = { pid: 4242, startTicks: 99 };
const ENTRY = "web0 br0 static sticky";
const options = { skip: skipWithout("root"), timeout: 30_000 };

interface Vmm {
  vmm: PretendedVmm;
  life: ProcessLife;
  socket: "answers" | "refuses" | "is busy";
  stateDirectory: string;
}

/** An agent with a running guest, whose VMM's process and socket do what the test says. */
function withVmm(
  body: (bench: Bench, vmm: Vmm) => Promise<void>,
  staysRegisteredFor: readonly string[] = [],
): Promise<void> {
  const state: Vmm = {
    vmm: new PretendedVmm("running", PROCESS),
    life: "alive",
    socket: "answers",
    stateDirectory: "",
  };
  return withAgent(
    async (bench) => {
      await bench.agent.prepareNics(prepare("a1"));
      await bench.agent.adoptGuest({
        guestId: "web",
        instanceId: "a1",
        qmpPath: "/run/a1",
        externalCpuSource: undefined,
      });
      assert.equal(fdbOf(MAC), ENTRY);
      await body(bench, state);
    },
    (_devices, stateDirectory) => {
      state.stateDirectory = stateDirectory;
      return {
        staysRegisteredFor,
        processLife: (process) => {
          assert.deepEqual(process, PROCESS);
          return state.life;
        },
        openVmm: async (_path, hear) => {
          if (state.socket === "answers") return state.vmm.open(hear);
          const reason = state.socket === "refuses" ? "QMP_UNREACHABLE" : "QMP_BUSY";
          throw new SwitchoverError("UNAVAILABLE", `The socket ${state.socket}.`, { reason });
        },
      };
    },
  );
}

async function told({ told: events }: Bench, kind: NonNullable<FeedEvent["event"]>["$case"]): Promise<void> {
  await eventually(kind, () => (events.some(({ event }) => event?.$case === kind) ? true : undefined));
}

async function cpuState({ agent }: Bench): Promise<CpuState | undefined> {
  return (await agent.getGuest({ guestId: "web" })).instances[0]?.cpuState;
}

describe("a VMM whose connection closes", options, () => {
  it("is dead when its process has ended, whoever listens on its path", () =>
    withVmm(async (bench, state) => {
      state.life = "dead";
      state.vmm.disconnects();
      await told(bench, "vmmLost");
      assert.equal(fdbOf(MAC), "");
    }));

  it("is not armed once it is dead, however often that is asked", () =>
    withVmm(async (bench, state) => {
      state.life = "dead";
      state.vmm.disconnects();
      await told(bench, "vmmLost");
      const arm = {
        ...{ guestId: "web", instanceId: "a1", migrationId: "web-mk3v0q8ya1z9", destinationHostId: "hb" },
        ...{ fence: { epoch: 3n, revision: 1n }, mode: MigrationMode.LIVE, transfer: undefined },
      };
      for (const _ of [1, 2]) {
        await assert.rejects(bench.agent.armSource(arm), {
          code: "FAILED_PRECONDITION",
          reason: "VMM_LOST",
        });
      }
    }));

  it("is not dead while its process lives and nobody listens, but as soon as that has ended", () =>
    withVmm(async (bench, state) => {
      state.socket = "refuses";
      state.vmm.disconnects();
      await told(bench, "alarmRaised");
      assert.equal(fdbOf(MAC), ENTRY);
      assert.equal(await cpuState(bench), CpuState.RUNNING);
      state.life = "dead";
      await told(bench, "vmmLost");
      assert.equal(fdbOf(MAC), "");
    }));

  it("is heard again when it answers: a stop that was missed deregisters then", () =>
    withVmm(async (bench, state) => {
      state.socket = "is busy";
      state.vmm.disconnects();
      state.vmm.suffers({ kind: "reset", by: "guest", reason: "" }, "paused");
      await told(bench, "alarmRaised");
      assert.deepEqual(
        bench.told.flatMap(({ event }) => (event?.$case === "alarmRaised" ? [event.value.reason] : [])),
        ["VMM_UNHEARD"],
      );
      assert.equal(fdbOf(MAC), ENTRY);
      state.socket = "answers";
      await eventually("the deregistration", () => (fdbOf(MAC) === "" ? true : undefined));
      assert.equal(await cpuState(bench), CpuState.STOPPED);
      await bench.agent.startCpus({ guestId: "web", instanceId: "a1" });
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  for (const [runState, entry] of [
    ["paused", ENTRY],
    ["guest-panicked", ""],
  ] as const) {
    it(`is heard again: stopped meanwhile as ${runState}, it is registered only if it may stay so for that`, () =>
      withVmm(
        async (bench, state) => {
          state.vmm.suffers({ kind: "stop" }, "paused");
          await told(bench, "stopExplained");
          assert.equal(fdbOf(MAC), ENTRY);
          state.vmm.disconnects();
          state.vmm.suffers({ kind: "reset", by: "guest", reason: "" }, runState);
          const before = bench.told.length;
          await eventually("what the agent makes of it", () =>
            bench.told.length > before ? true : undefined,
          );
          await eventually("the registration", () => (fdbOf(MAC) === entry ? true : undefined));
          assert.equal(await cpuState(bench), CpuState.STOPPED);
        },
        ["paused"],
      ));
  }

  it("stays deregistered for a pause, heard again, where StopCpus stopped it", () =>
    withVmm(
      async (bench, state) => {
        await bench.agent.stopCpus({ guestId: "web", instanceId: "a1" });
        assert.equal(fdbOf(MAC), "");
        await told(bench, "nicsDeregistered");
        const before = bench.told.length;
        state.vmm.disconnects();
        await eventually("the agent hears it", () => (bench.told.length > before ? true : undefined));
        assert.equal(fdbOf(MAC), "");
      },
      ["paused"],
    ));

  it("raises no alarm and keeps its registration where it answers at once", () =>
    withVmm(async (bench, state) => {
      const before = bench.told.length;
      state.vmm.disconnects();
      await eventually("what the agent says when it hears a VMM again", () =>
        bench.told.length > before ? true : undefined,
      );
      assert.equal(fdbOf(MAC), ENTRY);
      await bench.agent.stopCpus({ guestId: "web", instanceId: "a1" });
      assert.equal(fdbOf(MAC), "");
      assert.ok(
        !bench.told.some(({ event }) => event?.$case === "alarmRaised" || event?.$case === "vmmLost"),
      );
    }));

  it("is dead where nothing is seen of its process and nobody listens", () =>
    withVmm(async (bench, state) => {
      state.life = "unknown";
      state.socket = "refuses";
      state.vmm.disconnects();
      await told(bench, "vmmLost");
    }));

  it("is not taken for another one that listens on its path", () =>
    withVmm(async (bench, state) => {
      const old = state.vmm;
      state.vmm = new PretendedVmm("running", { pid: 4243, startTicks: 100 });
      old.disconnects();
      await told(bench, "alarmRaised");
      state.life = "dead";
      await told(bench, "vmmLost");
      assert.deepEqual(state.vmm.commands, []);
    }));

  it("has its process in the journal, for an agent that comes back", () =>
    withVmm(async (_bench, { stateDirectory }) => {
      const lines = readFileSync(join(stateDirectory, "web.journal"), "utf8").trim().split("\n");
      const words = lines.map((line) => JSON.parse(line).word as Record<string, unknown>);
      assert.deepEqual(
        words.find(({ kind }) => kind === "adopted"),
        { kind: "adopted", qmpPath: "/run/a1", process: PROCESS, bootId: "test" },
      );
    }));
});
