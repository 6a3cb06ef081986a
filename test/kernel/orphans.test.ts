import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { type Orphan, OrphanKind } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { skipWithout } from "../resource.ts";
import { adopted, type Bench, prepare, withAgent } from "./agent-bench.ts";
import { macOf, tapNic } from "./guest-nics.ts";
import { deviceNames, eventually, fdbOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { TapEnd } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

/** As an agent leaves it that lost its journals: a device of Switchover's with a registration. */
function leaveBehind({ devices }: Bench, index: number): string {
  const nic = tapNic(index);
  prepareNics(devices, [nic]);
  run("bridge", "fdb", "replace", nic.macAddress, "dev", nic.deviceName, "master", "static", "sticky");
  return nic.deviceName;
}

/** What an administrator made: the same without the alias. */
function makeStrangers(): void {
  run("ip", "tuntap", "add", "other0", "mode", "tap");
  run("ip", "link", "set", "other0", "master", "br0");
  run("bridge", "fdb", "replace", macOf(9), "dev", "other0", "master", "static", "sticky");
}

function wordsOf(orphans: readonly Orphan[]): string[] {
  return orphans.map(({ kind, deviceName, macAddress, bridge }) =>
    [kind === OrphanKind.DEVICE ? "device" : macAddress, deviceName, bridge].join(" "),
  );
}

describe("an agent's orphans", options, () => {
  it("are what it made and no guest uses; a guest's devices and strangers' are not among them", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      makeStrangers();
      leaveBehind(bench, 5);
      const { orphans } = await bench.agent.listOrphans({});
      assert.deepEqual(wordsOf(orphans), [`${macOf(5)} tap5 br0`, "device tap5 br0"]);
    }));

  it("are removed when asked for, and nothing else is", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      makeStrangers();
      leaveBehind(bench, 5);
      leaveBehind(bench, 6);
      const trial = await bench.agent.removeOrphans({
        deviceNames: ["tap5"],
        all: false,
        validateOnly: true,
      });
      assert.equal(trial.orphans.length, 2);
      assert.equal(deviceNames(), "br0 lo other0 tap5 tap6 web0");
      const named = await bench.agent.removeOrphans({
        deviceNames: ["tap5", "web0"],
        all: false,
        validateOnly: false,
      });
      assert.deepEqual(wordsOf(named.orphans), wordsOf(trial.orphans));
      assert.equal(deviceNames(), "br0 lo other0 tap6 web0");
      await bench.agent.removeOrphans({ deviceNames: [], all: true, validateOnly: false });
      assert.equal(deviceNames(), "br0 lo other0 web0");
      assert.equal(fdbOf(macOf(5)), "");
      assert.equal(fdbOf(macOf(9)), "other0 br0 static sticky");
      const again = await bench.agent.removeOrphans({
        deviceNames: ["tap5"],
        all: false,
        validateOnly: false,
      });
      assert.deepEqual(again.orphans, []);
    }));

  it("stay where a process holds them open, with their registration", () =>
    withAgent(async (bench) => {
      const name = leaveBehind(bench, 5);
      const holder = new TapEnd(name);
      try {
        const { orphans } = await bench.agent.removeOrphans({
          deviceNames: [],
          all: true,
          validateOnly: false,
        });
        assert.deepEqual(orphans, []);
        assert.equal(fdbOf(macOf(5)), "tap5 br0 static sticky");
      } finally {
        holder.close();
      }
      const { orphans } = await bench.agent.removeOrphans({
        deviceNames: [name],
        all: false,
        validateOnly: false,
      });
      assert.equal(orphans.length, 2);
    }));

  it("are spared that a guest was given while their removal was under way", () =>
    withAgent(async (bench) => {
      leaveBehind(bench, 5);
      const removal = bench.agent.removeOrphans({ deviceNames: [], all: true, validateOnly: false });
      const { deviceName, macAddress } = tapNic(5);
      await bench.agent.prepareNics(
        prepare("a1", [
          NicDefinition.fromPartial({
            nicId: "net0",
            macAddress,
            device: { $case: "tapOnBridge", value: { deviceName, bridge: "br0" } },
          }),
        ]),
      );
      assert.deepEqual((await removal).orphans, []);
      assert.equal(deviceNames(), "br0 lo tap5");
    }));

  it("are removed by themselves after the time that was set for it", () =>
    withAgent(
      async (bench) => {
        await adopted(bench, "running");
        leaveBehind(bench, 5);
        await eventually("the removal", () => (deviceNames() === "br0 lo web0" ? true : undefined));
      },
      () => ({ removeOrphansAfterMs: 100 }),
    ));

  it("are not removed while a guest's journal cannot be read", () =>
    withAgent(
      async (bench) => {
        leaveBehind(bench, 5);
        await assert.rejects(bench.agent.removeOrphans({ deviceNames: [], all: true, validateOnly: false }), {
          code: "FAILED_PRECONDITION",
          reason: "JOURNAL_UNREADABLE",
        });
        assert.equal(deviceNames(), "br0 lo tap5");
      },
      (_devices, stateDirectory) => {
        writeFileSync(join(stateDirectory, "db.journal"), "not a journal\n");
        return {};
      },
    ));
});
