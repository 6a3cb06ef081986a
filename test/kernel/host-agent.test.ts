import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Applied, CpuState, MigrationRole, RightToRun } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { MacvtapMode, type NicDefinition, Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { skipWithout } from "../resource.ts";
import { adopted, MAC, nic, prepare, withAgent } from "./agent-bench.ts";
import { macOf } from "./guest-nics.ts";
import { deviceNames, fdbOf, portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";

const MIGRATION = "web-mk3v0q8ya1z9";

const QUARANTINED = "web0 br0 up none learning=off flood=off mcast=off bcast=off";
const REGISTERED = "web0 br0 up none learning=off flood=off mcast=on bcast=on";
const ENTRY = "web0 br0 static sticky";
const options = { skip: skipWithout("root"), timeout: 30_000 };

function macvtap(deviceName: string): NicDefinition {
  const value = { deviceName, parent: "eth0", mode: MacvtapMode.BRIDGE };
  return { ...nic(), device: { $case: "macvtap", value } };
}

describe("an agent's PrepareNics", options, () => {
  it("makes the tap quarantined, once, and says so the second time", () =>
    withAgent(async ({ agent }) => {
      const first = await agent.prepareNics(prepare("a1"));
      assert.equal(first.applied, Applied.CHANGED);
      assert.equal(portOf("web0"), QUARANTINED);
      assert.equal(fdbOf(MAC), "");
      const second = await agent.prepareNics(prepare("a1"));
      assert.equal(second.applied, Applied.ALREADY_SO);
      assert.deepEqual(second.nics, first.nics);
    }));

  it("changes nothing when it only validates", () =>
    withAgent(async ({ agent }) => {
      await agent.prepareNics({ ...prepare("a1"), validateOnly: true });
      assert.equal(deviceNames(), "br0 lo");
      await assert.rejects(agent.getGuest({ guestId: "web" }), {
        code: "NOT_FOUND",
        reason: "GUEST_UNKNOWN",
      });
    }));

  for (const [name, request, expected] of [
    [
      "no guest",
      prepare("a1", [nic()], ""),
      { code: "INVALID_ARGUMENT", reason: "REQUIRED", field: "guest_id" },
    ],
    ["an id with a slash", prepare("a/1"), { code: "INVALID_ARGUMENT", field: "instance_id" }],
    ["no NIC", prepare("a1", []), { code: "INVALID_ARGUMENT", reason: "REQUIRED", field: "nics" }],
  ] as const) {
    it(`refuses ${name}, with nothing changed`, () =>
      withAgent(async ({ agent }) => {
        await assert.rejects(agent.prepareNics(request), expected);
        assert.equal(deviceNames(), "br0 lo");
      }));
  }

  it("takes other NICs for an instance until that has its VMM, and leaves nothing of the first", () =>
    withAgent(async (bench) => {
      await bench.agent.prepareNics(prepare("a1", [nic({ deviceName: "wrong0" })]));
      await adopted(bench, "prelaunch");
      assert.equal(deviceNames(), "br0 lo web0");
      await assert.rejects(bench.agent.prepareNics(prepare("a1", [nic({ macAddress: macOf(1) })])), {
        code: "ALREADY_EXISTS",
        reason: "INSTANCE_EXISTS",
      });
    }));

  it("refuses a MAC that another guest has on that bridge, and one that serves two NICs", () =>
    withAgent(async ({ agent }) => {
      await agent.prepareNics(prepare("a1"));
      await assert.rejects(agent.prepareNics(prepare("b1", [nic({ deviceName: "db0" })], "db")), {
        code: "FAILED_PRECONDITION",
        reason: "MAC_IN_USE",
        field: "nics[0].mac_address",
      });
      const twice = [nic({ deviceName: "db0" }), { ...nic({ deviceName: "db1" }), nicId: "net1" }];
      await assert.rejects(agent.prepareNics(prepare("b1", twice, "db")), {
        code: "INVALID_ARGUMENT",
        field: "nics[1].mac_address",
      });
      assert.equal(deviceNames(), "br0 lo web0");
    }));

  it("refuses a second macvtap of the guest's on one parent: within a host it migrates on a tap", () =>
    withAgent(async ({ agent }) => {
      run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0");
      await agent.prepareNics(prepare("a1", [macvtap("mv0")]));
      const devices = deviceNames();
      await assert.rejects(agent.prepareNics(prepare("a2", [macvtap("mv1")])), {
        code: "FAILED_PRECONDITION",
        reason: "MAC_IN_USE",
        field: "nics[0].mac_address",
        message: new RegExp(`${MAC} is the address of mv0 on eth0: one of the two could be up`),
      });
      assert.equal(deviceNames(), devices);
    }));

  it("makes a second tap of the guest's on one bridge, quarantined, for a migration within the host", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await bench.agent.prepareNics(prepare("a2", [nic({ deviceName: "web9" })]));
      assert.equal(portOf("web9"), QUARANTINED.replace("web0", "web9"));
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  it("refuses a device that another instance has", () =>
    withAgent(async ({ agent }) => {
      await agent.prepareNics(prepare("a1"));
      await assert.rejects(agent.prepareNics(prepare("a2")), {
        code: "FAILED_PRECONDITION",
        reason: "DEVICE_IN_USE",
      });
      assert.equal(portOf("web0"), QUARANTINED);
    }));
});

describe("an agent's gate on a real bridge", options, () => {
  it("registers before the CPUs start and deregisters when they stop", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "prelaunch");
      const started = await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      assert.equal(started.instance?.cpuState, CpuState.RUNNING);
      assert.equal(fdbOf(MAC), ENTRY);
      assert.equal(portOf("web0"), REGISTERED);
      const again = await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      assert.equal(again.applied, Applied.ALREADY_SO);
      const stopped = await bench.agent.stopCpus({ guestId: "web", instanceId: "" });
      assert.equal(stopped.instance?.registration, Registration.QUARANTINED);
      assert.equal(fdbOf(MAC), "");
      assert.equal(portOf("web0"), QUARANTINED);
      assert.deepEqual(vmm.commands, ["cont", "stop"]);
    }));

  it("deregisters at a stop that nobody ordered", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "prelaunch");
      await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      vmm.suffers({ kind: "stop" }, "io-error");
      assert.equal(fdbOf(MAC), "");
    }));

  it("registers a guest that it finds running", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  it("does not start CPUs whose NIC cannot be registered", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "prelaunch");
      run("ip", "link", "delete", "web0");
      await assert.rejects(bench.agent.startCpus({ guestId: "web", instanceId: "" }), {
        code: "ABORTED",
        reason: "START_REFUSED",
      });
      assert.deepEqual(vmm.commands, []);
      await bench.agent.feedDrained(1_000);
      const alarms = bench.told.flatMap(({ event }) =>
        event?.$case === "alarmRaised" ? [event.value.reason] : [],
      );
      assert.deepEqual(alarms, ["REGISTRATION_REFUSED"]);
    }));

  it("puts a NIC that was taken off its bridge there again before it starts the CPUs", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "prelaunch");
      run("ip", "link", "set", "web0", "nomaster");
      await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      assert.deepEqual(vmm.commands, ["cont"]);
      assert.match(run("bridge", "fdb", "show", "dev", "web0"), /52:54:.* master .* static/);
    }));

  it("gives a waiting VMM no right to run", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "inmigrate");
      const { instances } = await bench.agent.getGuest({ guestId: "web" });
      assert.deepEqual(
        instances.map(({ rightToRun }) => rightToRun),
        [RightToRun.AWAITED],
      );
      await assert.rejects(bench.agent.startCpus({ guestId: "web", instanceId: "a1" }), {
        code: "FAILED_PRECONDITION",
        reason: "NOT_OWNER",
      });
      assert.deepEqual(vmm.commands, []);
      assert.equal(fdbOf(MAC), "");
    }));
});

describe("an agent's answers to a coordinator", options, () => {
  const command = { guestId: "web", instanceId: "a1", fence: { epoch: 3n, revision: 1n } };
  const arm = {
    ...command,
    migrationId: MIGRATION,
    destinationHostId: "hb",
    mode: MigrationMode.LIVE,
    transfer: undefined,
  };
  const owner = { guestId: "web", instanceId: "" };

  it("refuse what is older than the fence that was acted on, and repeat what was answered", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      assert.equal((await bench.agent.armSource(arm)).applied, Applied.CHANGED);
      assert.equal((await bench.agent.armSource(arm)).applied, Applied.ALREADY_SO);
      for (const fence of [
        { epoch: 2n, revision: 9n },
        { epoch: 3n, revision: 0n },
      ]) {
        await assert.rejects(bench.agent.armSource({ ...arm, fence }), {
          code: "ABORTED",
          reason: "STALE_FENCE",
        });
      }
    }));

  it("take a stop by the switchover for no owner's stop", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "running");
      await bench.agent.armSource(arm);
      await assert.rejects(bench.agent.startCpus({ ...owner, instanceId: "a2" }), {
        reason: "INSTANCE_UNKNOWN",
      });
      vmm.suffers({ kind: "stop" }, "finish-migrate");
      await assert.rejects(bench.agent.stopCpus(owner), {
        code: "FAILED_PRECONDITION",
        reason: "SWITCHING_OVER",
      });
      assert.equal(fdbOf(MAC), "");
    }));

  it("let the owner start a guest again whose migration has failed, and not while it goes on", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "running");
      await bench.agent.armSource(arm);
      await bench.agent.stopCpus(owner);
      await assert.rejects(bench.agent.startCpus(owner), {
        code: "FAILED_PRECONDITION",
        reason: "MIGRATING",
      });
      vmm.suffers({ kind: "migrationStatusChanged", status: "failed", statusText: "failed" }, "paused");
      const { instance } = await bench.agent.startCpus(owner);
      assert.equal(instance?.cpuState, CpuState.RUNNING);
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  it("refuse a command without an epoch, of an unknown guest, and of an instance that is not armed", () =>
    withAgent(async (bench) => {
      await adopted(bench, "prelaunch");
      const { agent } = bench;
      await assert.rejects(agent.switchToPostCopy({ ...command, fence: undefined }), {
        code: "INVALID_ARGUMENT",
        field: "fence.epoch",
      });
      await assert.rejects(agent.switchToPostCopy({ ...command, guestId: "db" }), { code: "NOT_FOUND" });
      await assert.rejects(agent.switchToPostCopy(command), {
        code: "FAILED_PRECONDITION",
        reason: "NOT_ARMED",
      });
      await assert.rejects(agent.beginTransfer({ ...command, incomingUri: "exec:rm -rf /" }), {
        code: "INVALID_ARGUMENT",
        field: "incoming_uri",
      });
    }));

  it("list what refuses a migration: a source that is none, a destination that does not wait", () =>
    withAgent(async (bench) => {
      await adopted(bench, "prelaunch");
      const preflight = (role: MigrationRole) =>
        bench.agent.preflight({ guestId: "web", instanceId: "a1", role, mode: MigrationMode.LIVE });
      assert.deepEqual((await preflight(MigrationRole.SOURCE)).refusals, []);
      const { refusals } = await preflight(MigrationRole.DESTINATION);
      assert.deepEqual(
        refusals.map(({ reason }) => reason),
        ["NOT_INCOMING"],
      );
      await assert.rejects(preflight(MigrationRole.UNSPECIFIED), { code: "INVALID_ARGUMENT", field: "role" });
    }));

  it("find no hand-off that was not given, and take none where none is awaited", () =>
    withAgent(async (bench) => {
      await adopted(bench, "prelaunch");
      await assert.rejects(bench.agent.getHandOff(command), { code: "NOT_FOUND", reason: "WORD_FORGOTTEN" });
      const handOff = {
        migrationId: MIGRATION,
        guestId: "web",
        sourceHostId: "hb",
        sourceInstanceId: "b1",
        destinationHostId: "ha",
        fence: command.fence,
        runState: "running",
        stoppedAtUnixUs: 1n,
        deregisteredAtUnixUs: 2n,
        journaledAtUnixUs: 3n,
        nics: undefined,
      };
      await assert.rejects(bench.agent.deliverHandOff({ ...command, handOff }), {
        code: "FAILED_PRECONDITION",
        reason: "HAND_OFF_NOT_AWAITED",
      });
      assert.equal(fdbOf(MAC), "");
    }));
});
