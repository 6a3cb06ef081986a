import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findDrift } from "../../agent/device/nic-mending.ts";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const nic: TapOnBridgeNic = {
  type: "tapOnBridge",
  nicId: "net0",
  macAddress: parseMacAddress("52:54:00:00:00:01", ""),
  deviceName: "tap0",
  bridge: "br0",
  macTableManager: "switchover",
  sticky: "sticky",
  vlans: [7, 9],
};

describe("a VLAN that the port has left", () => {
  it("keeps no entry of a guest that stops, and none where its port is released, which stays out of it", () => {
    for (const end of ["stop", "release"] as const) {
      const kernel = filteringKernel();
      kernel.create({ deviceName: "tap0" });
      const ifindex = kernel.link("tap0")?.ifindex ?? 0;
      const masterIfindex = kernel.link("br0")?.ifindex ?? 0;
      carryOut(kernel, { op: "setLink", ifindex, change: { masterIfindex } });
      carryOut(kernel, { op: "addPortVlans", ifindex, vlans: [7, 9] });
      carryOut(kernel, { op: "keepPortVlans", ifindex, vlans: [7, 9] });
      const { ownerships, set } = prepared(kernel);
      set.start();
      kernel.change("tap0", { portVlans: [7] });
      if (end === "release") {
        assert.deepEqual(releaseNics(kernel, [nic], ownerships, "delete"), [{ nicId: "net0" }]);
      } else assert.deepEqual(set.stop().nics[0]?.outcome, { result: "removed" });
      assert.equal(kernel.renderEntries(), "");
      assert.deepEqual(kernel.link("tap0")?.portVlans, [7]);
    }
  });

  it("keeps no guest from starting there that was armed meanwhile, once the port is back in it", () => {
    const kernel = filteringKernel();
    prepared(kernel);
    for (const lost of [() => kernel.change("tap0", { portVlans: [7] }), () => letFilter(kernel, "off")]) {
      lost();
      const set = armNicSet(kernel, [nic], () => 0);
      kernel.change("tap0", { portVlans: [7, 9] });
      letFilter(kernel, "on");
      assert.equal(set.start().result, "started");
      set.stop();
    }
  });

  it("is told, as is a bridge that filters no more, whether or not its guest runs", () => {
    const kernel = filteringKernel();
    const { set } = prepared(kernel);
    for (const registered of ["quarantined", "registered"] as const) {
      if (registered === "registered") set.start();
      const reason = () => findDrift(kernel, [nic], registered)[0]?.problem.reason;
      kernel.change("tap0", { portVlans: [7] });
      assert.equal(reason(), "VLAN_NOT_ON_PORT");
      kernel.change("tap0", { portVlans: [7, 9] });
      letFilter(kernel, "off");
      assert.equal(reason(), "BRIDGE_NOT_VLAN_AWARE");
      letFilter(kernel, "on");
      assert.equal(reason(), undefined);
    }
  });

  it("lets no guest start on a bridge that filters no more since its NIC was armed", () => {
    const kernel = filteringKernel();
    const { set } = prepared(kernel);
    letFilter(kernel, "off");
    const { outcome } = set.start().nics[0] ?? assert.fail();
    assert.equal(outcome.result === "failed" && outcome.problem.reason, "BRIDGE_NOT_VLAN_AWARE");
    assert.equal(kernel.renderEntries(), "");
  });

  it("is said to keep the entry where the kernel flushes no single VLAN", () => {
    const kernel = filteringKernel();
    const { set } = prepared(kernel);
    set.start();
    kernel.change("tap0", { portVlans: [7] });
    kernel.bulkDeletion = "unknown";
    const { outcome } = set.stop().nics[0] ?? assert.fail();
    assert.equal(outcome.result === "failed" && outcome.problem.reason, "STILL_REGISTERED");
  });
});

function filteringKernel(): PretendedKernel {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0", { vlanFiltering: "on" });
  return kernel;
}

function letFilter(kernel: PretendedKernel, vlanFiltering: "on" | "off"): void {
  kernel.change("br0", { vlanFiltering });
}

function prepared(kernel: PretendedKernel) {
  const nics = prepareNics({ route: kernel, factory: kernel }, [nic]);
  const ownerships = new Map(nics.map(({ nicId, ownership }) => [nicId, ownership]));
  return { ownerships, set: armNicSet(kernel, [nic], () => 0) };
}

function carryOut(kernel: PretendedKernel, request: RouteRequest): void {
  assert.deepEqual(kernel.execute({ requests: [request] }), [{ ok: true, messages: [] }]);
}
