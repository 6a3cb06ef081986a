import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import { answerOf } from "../../agent/netlink/route-request.ts";
import { openTableReader } from "../../agent/netlink/table-reader.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { MacvtapMode, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { skipWithout } from "../resource.ts";
import { prepare, withAgent } from "./agent-bench.ts";
import { macOf } from "./guest-nics.ts";
import { deviceNames, eventually, linkOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

function macvtap(index: number, parent: string, mode: MacvtapMode): NicDefinition {
  return NicDefinition.fromPartial({
    nicId: `net${index}`,
    macAddress: macOf(index),
    device: { $case: "macvtap", value: { deviceName: `mv${index}`, parent, mode } },
  });
}

/** The kernel of a host so large that none of its tables may be read within a turn of the event loop. */
function withoutTables({ route }: HostDevices): RoutePort {
  return {
    execute: (batch) => {
      for (const request of batch.requests) assert.notEqual(answerOf(request), "dump", request.op);
      return route.execute(batch);
    },
    ready: (batch) => route.ready(batch),
    dump: ({ op }) => assert.fail(`${op} at once`),
  };
}

function onLargeHost(body: Parameters<typeof withAgent>[0]): Promise<void> {
  return withAgent(
    async (bench) => {
      for (const name of ["eth0", "eth1"]) {
        run("ip", "link", "add", name, "up", "type", "veth", "peer", "name", `far-${name}`);
        run("ip", "link", "set", `far-${name}`, "up");
      }
      await body(bench);
    },
    (devices) => ({ devices: { ...devices, route: withoutTables(devices) } }),
  );
}

const BOTH = [macvtap(0, "eth0", MacvtapMode.BRIDGE), macvtap(1, "eth1", MacvtapMode.PASSTHROUGH)];

describe("an agent with macvtaps", options, () => {
  it("reads no table within a turn of the event loop, from their preparation to their release", () =>
    onLargeHost(async ({ agent, vmms }) => {
      const before = [deviceNames(), linkOf("eth1")];
      vmms.set("/run/a1", new PretendedVmm("inmigrate"));
      await agent.prepareNics(prepare("a1", BOTH));
      await agent.adoptGuest({
        guestId: "web",
        instanceId: "a1",
        qmpPath: "/run/a1",
        externalCpuSource: undefined,
      });
      const { refusals } = await agent.preflight({
        guestId: "web",
        instanceId: "a1",
        mode: MigrationMode.LIVE,
        role: MigrationRole.DESTINATION,
      });
      assert.deepEqual(refusals, []);
      const third = macvtap(2, "eth0", MacvtapMode.VEPA);
      await agent.attachNic({ guestId: "web", instanceId: "a1", nic: third, validateOnly: false });
      for (const nicId of ["net0", "net1", "net2"]) {
        await agent.detachNic({ guestId: "web", instanceId: "a1", nicId });
      }
      assert.deepEqual([deviceNames(), linkOf("eth1")], before);
    }));

  it("leaves the parent of a passthrough macvtap that others deleted as it was found, and reads no table within a turn", () =>
    onLargeHost(async ({ agent, vmms }) => {
      run("ip", "link", "set", "eth1", "down");
      const before = linkOf("eth1");
      vmms.set("/run/a1", new PretendedVmm("running"));
      await agent.prepareNics(prepare("a1", [macvtap(1, "eth1", MacvtapMode.PASSTHROUGH)]));
      await agent.adoptGuest({
        guestId: "web",
        instanceId: "a1",
        qmpPath: "/run/a1",
        externalCpuSource: undefined,
      });
      assert.match(linkOf("eth1"), /^eth1 up/);
      run("ip", "link", "del", "mv1");
      await agent.detachNic({ guestId: "web", instanceId: "a1", nicId: "net1" });
      await eventually("the parent as it was", () => (linkOf("eth1") === before ? true : undefined));
    }));

  it("lets a passthrough macvtap that others deleted be replaced by one that finds their parent as it was found", () =>
    onLargeHost(async ({ agent }) => {
      run("ip", "link", "set", "eth1", "down");
      const before = linkOf("eth1");
      await agent.prepareNics(prepare("a1", [macvtap(1, "eth1", MacvtapMode.PASSTHROUGH)]));
      run("ip", "link", "set", "eth1", "up");
      run("ip", "link", "del", "mv1");
      const replaced = await agent.prepareNics(prepare("a1", [macvtap(2, "eth1", MacvtapMode.PASSTHROUGH)]));
      assert.equal(replaced.nics[0]?.deviceName, "mv2");
      await agent.detachNic({ guestId: "web", instanceId: "a1", nicId: "net2" });
      assert.equal(linkOf("eth1"), before);
    }));

  it("lists orphans, and reads no table within a turn", () =>
    onLargeHost(async ({ agent }) => {
      run("ip", "link", "add", "mv9", "link", "eth0", "type", "macvtap", "mode", "bridge");
      run("ip", "link", "set", "mv9", "alias", "switchover");
      const { orphans } = await agent.listOrphans({});
      assert.deepEqual(
        orphans.map(({ deviceName }) => deviceName),
        ["mv9"],
      );
    }));

  it("refuses at preflight a guest that would arrive at a parent without a carrier, and lets one leave it", () =>
    onLargeHost(async ({ agent, vmms }) => {
      vmms.set("/run/a1", new PretendedVmm("inmigrate"));
      await agent.prepareNics(prepare("a1", BOTH));
      const adoption = { guestId: "web", instanceId: "a1", qmpPath: "/run/a1", externalCpuSource: undefined };
      await agent.adoptGuest(adoption);
      run("ip", "link", "set", "far-eth0", "down");
      const refusalsAs = async (role: MigrationRole) => {
        const question = { guestId: "web", instanceId: "a1", mode: MigrationMode.LIVE, role };
        return (await agent.preflight(question)).refusals.map(({ reason, field }) => `${reason} ${field}`);
      };
      assert.deepEqual(await refusalsAs(MigrationRole.DESTINATION), [
        "PARENT_NO_CARRIER nics[0].macvtap.parent",
      ]);
      assert.deepEqual(await refusalsAs(MigrationRole.SOURCE), ["NOT_OWNER instance_id"]);
    }));

  it("still refuses what only a table tells, each by its field, and nothing changed", () =>
    onLargeHost(async ({ agent }) => {
      run(
        "ip",
        "link",
        "add",
        "rival",
        "link",
        "eth0",
        "address",
        macOf(0),
        "type",
        "macvtap",
        "mode",
        "bridge",
      );
      run("ip", "addr", "add", "10.7.0.2/24", "dev", "eth1");
      const before = deviceNames();
      const refused = { code: "FAILED_PRECONDITION" };
      const [shared, exclusive] = BOTH;
      assert.ok(shared && exclusive);
      await assert.rejects(agent.prepareNics(prepare("a1", [shared])), {
        ...refused,
        reason: "MAC_IN_USE",
        field: "nics[0].mac_address",
      });
      for (const [nic, reason] of [
        [macvtap(0, "eth0", MacvtapMode.PASSTHROUGH), "PARENT_IN_USE"],
        [exclusive, "PARENT_HAS_ADDRESSES"],
      ] as const) {
        await assert.rejects(agent.prepareNics(prepare("a1", [nic])), {
          ...refused,
          reason,
          field: "nics[0].macvtap.parent",
        });
      }
      assert.equal(deviceNames(), before);
    }));
});

describe("a table of the kernel's", options, () => {
  it("is read while the event loop turns, one after another, and not by a reader that is closed", () =>
    inNetworkNamespace(async () => {
      for (let index = 0; index < 60; index++) {
        run("ip", "link", "add", `a${index}`, "type", "veth", "peer", "name", `b${index}`);
      }
      const tables = openTableReader();
      let turns = 0;
      const count = (): void => {
        turns += 1;
        setImmediate(count).unref();
      };
      setImmediate(count).unref();
      const [links, routes] = await Promise.all([
        tables.read({ op: "dumpLinks" }),
        tables.read({ op: "getRoutes", ifindex: 1, family: "ipv4" }),
      ]);
      assert.equal(links.length, 121);
      assert.deepEqual(routes, []);
      assert.ok(turns >= 2, `${turns} turns`);
      const closing = tables.read({ op: "dumpLinks" });
      tables.close();
      tables.close();
      await assert.rejects(closing, { reason: "CLOSED" });
      await assert.rejects(tables.read({ op: "dumpLinks" }), { reason: "CLOSED" });
    }));
});
