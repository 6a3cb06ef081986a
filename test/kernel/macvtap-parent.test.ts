import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import type { ProcessLife } from "../../agent/vmm/vmm-process.ts";
import { MacvtapMode, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { skipWithout } from "../resource.ts";
import { prepare, withAgent } from "./agent-bench.ts";
import { clockUs, macOf, macvtapNic, ownershipsOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, linkOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";

const OWN = "02:00:00:00:00:e0";
const PASSTHROUGH = { mode: "passthrough" } as const;
const STATES = ["up", "down"] as const;
const options = { skip: skipWithout("root"), timeout: 30_000 };

function addParent(name: string, state: (typeof STATES)[number]): void {
  run("ip", "link", "add", name, "address", OWN, "type", "veth", "peer", "name", `far-${name}`);
  run("ip", "link", "set", `far-${name}`, "up");
  run("ip", "link", "set", name, state);
}

function onHost(body: (host: HostDevices) => void): Promise<void> {
  return inNetworkNamespace(() => withHost(body));
}

function passthrough(): NicDefinition {
  return NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: macOf(0),
    device: {
      $case: "macvtap",
      value: { deviceName: "mv0", parent: "eth0", mode: MacvtapMode.PASSTHROUGH },
    },
  });
}

describe("the parent of a macvtap in passthrough is left as it was found", options, () => {
  for (const state of STATES) {
    it(`${state}, where others have deleted the macvtap`, () =>
      onHost((host) => {
        addParent("eth0", state);
        const before = linkOf("eth0");
        const nics = [macvtapNic(0, PASSTHROUGH)];
        for (const guest of ["runs", "stands"] as const) {
          const prepared = prepareNics(host, nics);
          const set = armNicSet(host.route, nics, clockUs);
          assert.equal(set.start().result, "started");
          if (guest === "stands") set.stop();
          run("ip", "link", "del", "mv0");
          const reports = releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
          assert.deepEqual(reports, [{ nicId: "net0" }]);
          assert.equal(linkOf("eth0"), before);
        }
      }));

    it(`${state}, by an instance that takes the device over from one that lost its VMM`, () => {
      let life: ProcessLife = "alive";
      return withAgent(
        async ({ agent, vmms }) => {
          addParent("eth0", state);
          const before = linkOf("eth0");
          const vmm = new PretendedVmm("prelaunch", { pid: 7, startTicks: 7 });
          vmms.set("/run/a1", vmm);
          await agent.prepareNics(prepare("a1", [passthrough()]));
          await agent.adoptGuest({
            guestId: "web",
            instanceId: "a1",
            qmpPath: "/run/a1",
            externalCpuSource: undefined,
          });
          await agent.startCpus({ guestId: "web", instanceId: "a1" });
          assert.match(linkOf("eth0"), / up UP 52:54:00:00:00:01 /);
          life = "dead";
          vmm.disconnects();
          await eventually("the stop", () => (/ down /.test(linkOf("eth0")) ? true : undefined));
          await agent.prepareNics(prepare("a2", [passthrough()]));
          await agent.detachNic({ guestId: "web", instanceId: "a2", nicId: "net0" });
          assert.equal(linkOf("eth0"), before);
        },
        () => ({ processLife: () => life }),
      );
    });
  }

  it("and not touched where somebody else stands on it since others have deleted the macvtap", () =>
    onHost((host) => {
      addParent("eth0", "down");
      const nics = [macvtapNic(0, PASSTHROUGH)];
      const prepared = prepareNics(host, nics);
      run("ip", "link", "del", "mv0");
      run("ip", "link", "add", "rival", "link", "eth0", "type", "macvtap", "mode", "bridge");
      run("ip", "link", "set", "eth0", "up");
      const taken = linkOf("eth0");
      releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
      assert.equal(linkOf("eth0"), taken);
    }));

  it("and not blipped where a preparation fails before its turn", () =>
    onHost((host) => {
      for (const name of ["eth0", "eth1"]) addParent(name, "up");
      const before = [linkOf("eth0"), linkOf("eth1")];
      const nics = [
        macvtapNic(0, PASSTHROUGH),
        tapNic(1, { deviceName: "mv1", bridge: "br0" }),
        macvtapNic(2, { ...PASSTHROUGH, parent: "eth1" }),
      ];
      run("ip", "link", "add", "br0", "up", "type", "bridge");
      const factory = {
        create: () => {
          throw new Error("no taps today");
        },
      };
      const asked: RouteRequest[] = [];
      const route: RoutePort = {
        execute: (batch) => {
          asked.push(...batch.requests);
          return host.route.execute(batch);
        },
        ready: () => {},
        dump: (dump) => host.route.dump(dump),
      };
      assert.throws(() => prepareNics({ route, factory }, nics), /no taps today/);
      assert.deepEqual([linkOf("eth0"), linkOf("eth1")], before);
      assert.deepEqual(
        asked.filter(({ op }) => op === "setLink"),
        [],
      );
    }));
});
