import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Occasion } from "../../agent/device/device.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { asFound } from "../../agent/device/macvtap/parent.ts";
import { macvtapPreparation } from "../../agent/device/macvtap/preparation.ts";
import { type PreparedNic, preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import type { Link } from "../../agent/netlink/link.ts";
import type { RouteBatch } from "../../agent/netlink/route-batch.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { refusal } from "./device-pretended-answer.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const NIC: MacvtapNic = {
  type: "macvtap",
  nicId: "net0",
  macAddress: parseMacAddress("52:54:00:00:00:01", ""),
  deviceName: "mv0",
  parent: "eth0",
  mode: "passthrough",
};
const link = (name: string, ifindex: number, change: Partial<Link> = {}): Link => ({
  ifindex,
  name,
  state: "up",
  operState: "up",
  macAddress: parseMacAddress("02:00:00:00:00:e0", ""),
  mtu: 1500,
  txQueueLength: 1000,
  ...change,
});

describe("a parent in passthrough", () => {
  it("is refused where anything else stands on it: a VLAN of the host's would go down with it", () => {
    const links = new Map([
      ["eth0", link("eth0", 2)],
      ["eth0.100", link("eth0.100", 3, { kind: "vlan", parentIfindex: 2 })],
    ]);
    const [refusal] = macvtapPreparation.refusals(NIC, links, { answers: [] }, "prepare");
    assert.deepEqual([refusal?.reason, refusal?.field], ["PARENT_IN_USE", "macvtap.parent"]);
    assert.deepEqual(
      macvtapPreparation.refusals({ ...NIC, mode: "bridge" }, links, { answers: [] }, "prepare"),
      [],
    );
  });

  it("is never given the guest's address back as its own, when a device is prepared anew", () => {
    const found = asFound(link("eth0", 2, { macAddress: NIC.macAddress, state: "down" }), NIC);
    assert.deepEqual(found, { state: "down" });
  });
});

function withParent(state: "up" | "down") {
  const kernel = new PretendedKernel();
  kernel.addParent("eth0", state);
  return { kernel, host: { route: kernel, factory: kernel }, before: kernel.renderMacvtaps() };
}

function ownershipsOf(prepared: readonly PreparedNic[]) {
  return new Map(prepared.map(({ nicId, ownership }) => [nicId, ownership]));
}

describe("what a release leaves of a parent in passthrough", () => {
  for (const state of ["up", "down"] as const) {
    it(`is what was found, ${state}, where others have deleted the macvtap while its guest ran`, () => {
      const { kernel, host, before } = withParent(state);
      const prepared = prepareNics(host, [NIC]);
      armNicSet(kernel, [NIC], () => 0).start();
      kernel.remove("mv0");
      assert.deepEqual(releaseNics(kernel, [NIC], ownershipsOf(prepared), "delete"), [{ nicId: "net0" }]);
      assert.equal(kernel.renderMacvtaps(), before);
    });

    it(`is what a former instance found, ${state}, whose device was taken over`, () => {
      const { kernel, host, before } = withParent(state);
      const [former] = prepareNics(host, [NIC]);
      assert.ok(former);
      const taken = { ...NIC, nicId: "net7" };
      const prepared = prepareNics(host, [taken], undefined, { former: new Map([["net7", former]]) });
      releaseNics(kernel, [taken], ownershipsOf(prepared), "delete");
      assert.equal(kernel.renderMacvtaps(), before);
    });

    it(`is what a former instance found, ${state}, also where its device is gone`, () => {
      const { kernel, host, before } = withParent(state);
      const [former] = prepareNics(host, [NIC]);
      assert.ok(former);
      kernel.remove("mv0");
      const prepared = prepareNics(host, [NIC], undefined, { former: new Map([["net0", former]]) });
      releaseNics(kernel, [NIC], ownershipsOf(prepared), "delete");
      assert.equal(kernel.renderMacvtaps(), before);
    });
  }

  it("is told where the kernel refuses it", () => {
    const { kernel, host } = withParent("up");
    const prepared = prepareNics(host, [NIC]);
    const parent = kernel.link("eth0")?.ifindex;
    const route: RoutePort = {
      execute: ({ requests }) =>
        requests.flatMap((request) =>
          request.op === "setLink" && request.ifindex === parent
            ? [refusal(1)]
            : kernel.execute({ requests: [request] }),
        ),
      ready: () => {},
      dump: (dump) => kernel.dump(dump),
    };
    const [report] = releaseNics(route, [NIC], ownershipsOf(prepared), "delete");
    assert.deepEqual(report?.problem, {
      reason: "EPERM",
      sentence: "The kernel refused to release eth0: EPERM.",
    });
  });
});

describe("a parent that macvtaps cannot stand on", () => {
  it("is a port, whose frames its master takes, and no member of a VRF, which takes none", () => {
    for (const [masterKind, refused] of [
      ["bridge", true],
      ["bond", true],
      [undefined, true],
      ["vrf", false],
    ] as const) {
      const { kernel } = withParent("up");
      kernel.change("eth0", { masterIfindex: 9, ...(masterKind === undefined ? {} : { masterKind }) });
      const reasons = preflightNics(kernel, [{ ...NIC, mode: "bridge" }]).map(({ reason }) => reason);
      assert.deepEqual(reasons, refused ? ["PARENT_IS_PORT"] : []);
    }
  });

  it("is one without Ethernet frames", () => {
    const { kernel } = withParent("up");
    kernel.change("eth0", { frames: "notEthernet" });
    const [refusal] = preflightNics(kernel, [NIC]);
    assert.deepEqual([refusal?.reason, refusal?.field], ["PARENT_NOT_ETHERNET", "nics[0].macvtap.parent"]);
  });
});

describe("a parent that leads nowhere", () => {
  const shared: MacvtapNic = { ...NIC, mode: "bridge" };
  const problemsOf = (kernel: PretendedKernel, nic: MacvtapNic, occasion: Occasion) =>
    preflightNics(kernel, [nic], undefined, {}, occasion).map(({ reason, field }) => `${reason} ${field}`);
  const OCCASIONS = ["prepare", "arrive", "leave"] as const;

  it("is a VLAN whose lower device is down, unless the guest leaves it", () => {
    for (const nic of [shared, NIC]) {
      const { kernel } = withParent("down");
      kernel.addParent("bond0", "down");
      const vlan = { kind: "vlan", parentIfindex: kernel.link("bond0")?.ifindex ?? 0 };
      kernel.change("eth0", vlan);
      const refused = ["PARENT_LOWER_DOWN nics[0].macvtap.parent"];
      assert.deepEqual(
        OCCASIONS.map((occasion) => problemsOf(kernel, nic, occasion)),
        [refused, refused, []],
      );
      kernel.change("bond0", { state: "up" });
      assert.deepEqual(problemsOf(kernel, nic, "arrive"), []);
    }
  });

  it("is one that is up without a carrier, for a guest that arrives", () => {
    const { kernel } = withParent("up");
    kernel.change("eth0", { carrier: "off" });
    const refused = ["PARENT_NO_CARRIER nics[0].macvtap.parent"];
    assert.deepEqual(
      OCCASIONS.map((occasion) => problemsOf(kernel, shared, occasion)),
      [[], refused, []],
    );
    kernel.change("eth0", { state: "down" });
    assert.deepEqual(problemsOf(kernel, shared, "arrive"), []);
  });
});

describe("a guest with macvtaps and taps", () => {
  const tap: TapOnBridgeNic = {
    type: "tapOnBridge",
    nicId: "net1",
    macAddress: parseMacAddress("52:54:00:00:00:02", ""),
    deviceName: "tap0",
    bridge: "br0",
    macTableManager: "switchover",
    sticky: "sticky",
  };
  const shared: MacvtapNic = {
    ...NIC,
    nicId: "net2",
    macAddress: parseMacAddress("52:54:00:00:00:03", ""),
    deviceName: "mv2",
    parent: "eth2",
    mode: "vepa",
  };

  /** A started set of all three on a route that may put something off, and what of its stop was asked for, and when. */
  function stopped(puttingOff: "can" | "cannot") {
    const { kernel, host } = withParent("up");
    kernel.addBridge("br0");
    kernel.addParent("eth2");
    const nics = [NIC, tap, shared];
    prepareNics(host, nics);
    const nameOf = new Map(["tap0", "eth0", "mv0", "mv2"].map((name) => [kernel.link(name)?.ifindex, name]));
    const textsOf = (requests: readonly RouteRequest[]) =>
      requests.map((request) => {
        const change = request.op === "setLink" ? request.change.state : undefined;
        const mode = request.op === "setMacvtapMode" ? request.mode : undefined;
        const device = "ifindex" in request ? nameOf.get(request.ifindex) : undefined;
        return [request.op, device, change ?? mode].filter((word) => word !== undefined).join(" ");
      });
    const asked: string[] = [];
    const later: RouteBatch[] = [];
    const route: RoutePort = {
      execute: (batch) => {
        asked.push(...textsOf(batch.requests));
        return kernel.execute(batch);
      },
      ready: () => {},
      dump: (dump) => kernel.dump(dump),
      ...(puttingOff === "can" ? { executeSoon: (batch: RouteBatch) => void later.push(batch) } : {}),
    };
    const set = armNicSet(route, nics, () => 0);
    assert.equal(set.start().result, "started");
    asked.splice(0);
    const outcomes = set.stop().nics.map(({ nicId, outcome }) => `${nicId} ${outcome.result}`);
    return {
      kernel,
      set,
      outcomes,
      asked,
      later,
      putOff: later.flatMap(({ requests }) => textsOf(requests)),
    };
  }

  it("has what goes at once deregistered first, and each NIC reported in its own place", () => {
    const { asked, outcomes, putOff } = stopped("cannot");
    assert.deepEqual(outcomes, ["net0 removed", "net1 removed", "net2 removed"]);
    assert.deepEqual(asked, [
      "setBridgePort tap0",
      "deleteFdbEntry tap0",
      "getFdbEntry",
      "setLink mv2 down",
      "setLink eth0 down",
      "setLink mv0 down",
    ]);
    assert.deepEqual(putOff, []);
  });

  it("has no frame delivered to it when a stop returns, and what has the kernel wait besides put off where it can be", () => {
    const { asked, kernel, later, outcomes, putOff, set } = stopped("can");
    assert.deepEqual(outcomes, ["net0 removed", "net1 removed", "net2 removed"]);
    assert.deepEqual(asked, [
      "setBridgePort tap0",
      "deleteFdbEntry tap0",
      "getFdbEntry",
      "setMacvtapMode mv2 source",
      "setLink eth0 down",
    ]);
    assert.deepEqual(putOff, [
      "setLink mv2 down",
      "setMacvtapMode mv2 vepa",
      "setLink eth0 down",
      "setLink mv0 down",
    ]);
    for (const batch of later) kernel.execute(batch);
    assert.deepEqual(
      verifyNics(kernel, set.nics).map(({ registration }) => registration),
      ["quarantined", "quarantined", "quarantined"],
    );
    assert.equal(set.start().result, "started");
  });
});
