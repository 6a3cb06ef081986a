import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { mendNics } from "../../agent/device/nic-mending.ts";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { tapOnBridge } from "../../agent/device/tap-on-bridge/device-type.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { MulticastGroup } from "../../agent/netlink/multicast.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const PLAIN: TapOnBridgeNic = {
  type: "tapOnBridge",
  nicId: "net0",
  macAddress: parseMacAddress("52:54:00:00:00:01", ""),
  deviceName: "tap0",
  bridge: "br0",
  macTableManager: "switchover",
  sticky: "sticky",
};
const SECOND_MAC = parseMacAddress("52:54:00:00:00:02", "");
const GROUP = "239.1.2.3" as MulticastGroup;
const VTEP = parseIpAddress("10.0.0.1", "");

/** One for each thing that goes with a registration, and one with all that can go together. */
const CASES: readonly [what: string, change: Partial<TapOnBridgeNic>, registered: readonly string[]][] = [
  ["nothing else", {}, ["br0 52:54:00:00:00:01 tap0 static sticky"]],
  [
    "a second address",
    { additionalMacAddresses: [SECOND_MAC] },
    ["br0 52:54:00:00:00:01 tap0 static sticky", "br0 52:54:00:00:00:02 tap0 static sticky"],
  ],
  [
    "a group",
    { multicastGroups: [GROUP] },
    ["br0 239.1.2.3 tap0 permanent", "br0 52:54:00:00:00:01 tap0 static sticky"],
  ],
  [
    "an entry of the VXLAN device",
    { vxlan: { deviceName: "vx0", vtepAddress: VTEP } },
    ["br0 52:54:00:00:00:01 tap0 static sticky", "vx0 52:54:00:00:00:01 via 10.0.0.1 static"],
  ],
  [
    "two VLANs",
    { vlans: [7, 9] },
    ["br0 52:54:00:00:00:01 vlan 7 tap0 static sticky", "br0 52:54:00:00:00:01 vlan 9 tap0 static sticky"],
  ],
  [
    "all of these",
    {
      additionalMacAddresses: [SECOND_MAC],
      multicastGroups: [GROUP],
      vlans: [7],
      vxlan: { deviceName: "vx0", vtepAddress: VTEP, vni: 100 },
    },
    [
      "br0 239.1.2.3 vlan 7 tap0 permanent",
      "br0 52:54:00:00:00:01 vlan 7 tap0 static sticky",
      "br0 52:54:00:00:00:02 vlan 7 tap0 static sticky",
      "vx0 52:54:00:00:00:01 via 10.0.0.1 static",
      "vx0 52:54:00:00:00:02 via 10.0.0.1 static",
    ],
  ],
];

for (const [what, change, registered] of CASES) {
  describe(`a NIC with ${what}`, () => {
    const nic = { ...PLAIN, ...change };

    it("is registered when its CPUs start, and nothing is left when they stop", () => {
      const kernel = kernelFor(nic);
      const { ownerships, set } = prepared(kernel, nic);
      assert.equal(kernel.renderEntries(), "");
      for (let round = 0; round < 2; round++) {
        assert.equal(set.start().result, "started");
        assert.equal(kernel.renderEntries(), registered.join("\n"));
        assert.deepEqual(verifyNics(kernel, [nic]), [{ registration: "registered" }]);
        assert.equal(set.stop().result, "stopped");
        assert.equal(kernel.renderEntries(), "");
        assert.deepEqual(verifyNics(kernel, [nic]), [{ registration: "quarantined" }]);
      }
      set.start();
      assert.deepEqual(releaseNics(kernel, [nic], ownerships, "delete"), [{ nicId: "net0" }]);
      assert.equal(kernel.renderEntries(), "");
    });

    it("is mended whichever of its registrations is lost, and quarantined again whichever comes back", () => {
      const kernel = kernelFor(nic);
      const { ownerships, set } = prepared(kernel, nic);
      const place = set.placeOf("net0");
      assert.ok(place);
      const [, ...additions] = tapOnBridge.start.plan(nic, place).slice(0, registered.length + 1);
      const [, ...removals] = tapOnBridge.stop.plan(nic, place).slice(0, registered.length + 1);
      for (const index of registered.keys()) {
        set.start();
        carryOut(kernel, removals[index]);
        assert.equal(verifyNics(kernel, [nic])[0]?.registration, "drifted");
        assert.deepEqual(mendNics(kernel, [nic], ownerships, "registered"), []);
        assert.equal(kernel.renderEntries(), registered.join("\n"));
        set.stop();
        carryOut(kernel, additions[index]);
        assert.equal(verifyNics(kernel, [nic])[0]?.registration, "drifted");
        assert.deepEqual(mendNics(kernel, [nic], ownerships, "quarantined"), []);
        assert.equal(kernel.renderEntries(), "");
      }
    });
  });
}

it("a plain NIC is started by four requests and stopped by three", () => {
  const kernel = kernelFor(PLAIN);
  const place = prepared(kernel, PLAIN).set.placeOf("net0");
  assert.ok(place);
  const ops = (requests: readonly RouteRequest[]): readonly string[] => requests.map(({ op }) => op);
  const started = ["setBridgePort", "replaceFdbEntry", "getFdbEntry", "getLink"];
  assert.deepEqual(ops(tapOnBridge.start.plan(PLAIN, place)), started);
  assert.deepEqual(ops(tapOnBridge.stop.plan(PLAIN, place)), [
    "setBridgePort",
    "deleteFdbEntry",
    "getFdbEntry",
  ]);
});

describe("groups", () => {
  const nic = { ...PLAIN, multicastGroups: [GROUP] };

  it("need nothing where the bridge does not snoop, and are joined once it does", () => {
    const kernel = kernelFor(PLAIN);
    kernel.change("br0", { multicastSnooping: "off" });
    const { ownerships, set } = prepared(kernel, nic);
    assert.equal(set.start().result, "started");
    assert.equal(kernel.renderEntries(), "br0 52:54:00:00:00:01 tap0 static sticky");
    kernel.change("br0", { multicastSnooping: "on" });
    assert.equal(verifyNics(kernel, [nic])[0]?.registration, "drifted");
    assert.deepEqual(mendNics(kernel, [nic], ownerships, "registered"), []);
    assert.match(kernel.renderEntries(), /^br0 239.1.2.3 tap0 permanent$/m);
    assert.equal(set.stop().result, "stopped");
  });

  it("are joined and left by acknowledgement on kernels that tell nobody a single group", () => {
    const kernel = kernelFor(nic);
    kernel.tables.groupLookup = "unknown";
    const { set } = prepared(kernel, nic);
    assert.equal(set.start().result, "started");
    assert.match(kernel.renderEntries(), /^br0 239.1.2.3 tap0 permanent$/m);
    assert.deepEqual(verifyNics(kernel, [nic]), [{ registration: "registered" }]);
    assert.equal(set.stop().result, "stopped");
    assert.equal(kernel.renderEntries(), "");
  });
});

describe("a VXLAN device's entry", () => {
  const nic = { ...PLAIN, vxlan: { deviceName: "vx0", vtepAddress: VTEP } };

  it("that leads to the source's VTEP is taken over at start, and one that leads there by then is left at stop", () => {
    const kernel = kernelFor(nic);
    const { set } = prepared(kernel, nic);
    const ifindex = kernel.link("vx0")?.ifindex ?? 0;
    const toSource: RouteRequest = {
      op: "replaceVxlanEntry",
      ifindex,
      macAddress: PLAIN.macAddress,
      vtepAddress: parseIpAddress("10.0.0.9", ""),
    };
    carryOut(kernel, toSource);
    assert.equal(set.start().result, "started");
    assert.match(kernel.renderEntries(), /via 10.0.0.1/);
    carryOut(kernel, toSource);
    assert.equal(verifyNics(kernel, [nic])[0]?.registration, "drifted");
    assert.equal(set.stop().result, "stopped");
    assert.equal(kernel.renderEntries(), "vx0 52:54:00:00:00:01 via 10.0.0.9 static");
  });

  it("cannot be made where the device is gone: nothing is started, and what else there was goes at stop", () => {
    const kernel = kernelFor(nic);
    const { ownerships, set } = prepared(kernel, nic);
    assert.equal(set.start().result, "started");
    kernel.remove("vx0");
    const [verified] = verifyNics(kernel, [nic]);
    assert.equal(verified?.registration, "drifted");
    assert.equal(set.stop().result, "stopped");
    assert.equal(kernel.renderEntries(), "");
    assert.equal(set.start().result, "failed");
    assert.equal(kernel.renderEntries(), "");
    kernel.addVxlan("vx0", "br0");
    assert.deepEqual(mendNics(kernel, [nic], ownerships, "registered"), []);
    assert.match(kernel.renderEntries(), /^vx0 52:54:00:00:00:01 via 10.0.0.1 static$/m);
  });
});

describe("VLANs", () => {
  const nic = { ...PLAIN, vlans: [7, 9] };

  it("become those of a tap that Switchover puts on the bridge, and no others", () => {
    const kernel = kernelFor(nic);
    prepared(kernel, nic);
    assert.deepEqual(kernel.link("tap0")?.portVlans, [7, 9]);
  });

  it("that its own port has lost are put back, with the entries in them", () => {
    const kernel = kernelFor(nic);
    const { ownerships, set } = prepared(kernel, nic);
    set.start();
    kernel.change("tap0", { portVlans: [7] });
    assert.equal(verifyNics(kernel, [nic])[0]?.registration, "drifted");
    assert.deepEqual(mendNics(kernel, [nic], ownerships, "registered"), []);
    assert.deepEqual(kernel.link("tap0")?.portVlans, [7, 9]);
  });

  it("that somebody else's port is not in are refused, and left to their owner", () => {
    const kernel = kernelFor(nic);
    kernel.create({ deviceName: "tap0" });
    const bridge = kernel.link("br0")?.ifindex ?? 0;
    carryOut(kernel, {
      op: "setLink",
      ifindex: kernel.link("tap0")?.ifindex ?? 0,
      change: { masterIfindex: bridge },
    });
    kernel.change("tap0", { portVlans: [1, 7] });
    assert.deepEqual(refusalsOf(kernel, nic), ["VLAN_NOT_ON_PORT nics[0].tap_on_bridge.vlans"]);
    kernel.change("tap0", { portVlans: [1, 7, 9] });
    prepared(kernel, nic);
    assert.deepEqual(kernel.link("tap0")?.portVlans, [1, 7, 9]);
  });

  it("of which one cannot be registered leave none registered", () => {
    const kernel = kernelFor(nic);
    const { set } = prepared(kernel, nic);
    kernel.change("tap0", { portVlans: [7] });
    const report = set.start();
    assert.equal(report.result, "failed");
    const [{ outcome } = assert.fail()] = report.nics;
    assert.deepEqual(outcome.result === "failed" && [outcome.problem.reason, outcome.problem.field], [
      "VLAN_NOT_ON_PORT",
      "tap_on_bridge.vlans",
    ]);
    assert.equal(kernel.renderEntries(), "");
  });
});

describe("what the kernel tells of a NIC's registrations", () => {
  const nic = {
    ...PLAIN,
    additionalMacAddresses: [SECOND_MAC],
    multicastGroups: [GROUP],
    vlans: [7],
    vxlan: { deviceName: "vx0", vtepAddress: VTEP },
  };
  const place = { deviceIfindex: 4, parentIfindex: 2, overlayIfindex: 3 };
  const onBridge = {
    ifindex: 4,
    masterIfindex: 2,
    macAddress: SECOND_MAC,
    state: "static",
    sticky: "sticky",
    vlan: 7,
  } as const;
  const onVxlan = {
    ifindex: 3,
    macAddress: SECOND_MAC,
    state: "static",
    sticky: "plain",
    vtepAddress: VTEP,
  } as const;
  const elsewhere = { ...onVxlan, vtepAddress: parseIpAddress("10.0.0.9", "") };
  const member = { bridgeIfindex: 2, ifindex: 4, group: GROUP, vlan: 7, state: "permanent" } as const;
  const bridge = {
    name: "br0",
    ifindex: 2,
    state: "up",
    operState: "up",
    mtu: 1500,
    txQueueLength: 0,
  } as const;

  const flags = { learning: "off", unicastFlood: "off", multicastFlood: "on", broadcastFlood: "on" } as const;
  const port = { ...bridge, name: "tap0", ifindex: 4, masterIfindex: 2, port: flags };

  for (const [what, change, whenRegistered, whenQuarantined] of [
    ["a second address made", { kind: "fdbEntryChanged", entry: onBridge }, "agrees", "mayDiffer"],
    [
      "a second address moved",
      { kind: "fdbEntryChanged", entry: { ...onBridge, ifindex: 9 } },
      "mayDiffer",
      "agrees",
    ],
    [
      "an address in no VLAN of the NIC's",
      { kind: "fdbEntryRemoved", entry: { ...onBridge, vlan: 8 } },
      "agrees",
      "agrees",
    ],
    ["a second address removed", { kind: "fdbEntryRemoved", entry: onBridge }, "mayDiffer", "agrees"],
    ["an entry behind this host's VTEP", { kind: "fdbEntryChanged", entry: onVxlan }, "agrees", "mayDiffer"],
    ["an entry behind another VTEP", { kind: "fdbEntryChanged", entry: elsewhere }, "mayDiffer", "agrees"],
    [
      "an entry of another VXLAN device",
      { kind: "fdbEntryChanged", entry: { ...elsewhere, ifindex: 9 } },
      "agrees",
      "agrees",
    ],
    ["a VXLAN entry removed", { kind: "fdbEntryRemoved", entry: onVxlan }, "mayDiffer", "agrees"],
    ["the VXLAN device removed", { kind: "linkRemoved", name: "vx0", ifindex: 3 }, "mayDiffer", "mayDiffer"],
    ["a membership made", { kind: "groupEntryChanged", entry: member }, "agrees", "mayDiffer"],
    ["a membership removed", { kind: "groupEntryRemoved", entry: member }, "mayDiffer", "agrees"],
    [
      "another port's membership removed",
      { kind: "groupEntryRemoved", entry: { ...member, ifindex: 9 } },
      "agrees",
      "agrees",
    ],
    [
      "the tap, in its VLAN",
      { kind: "linkChanged", link: { ...port, portVlans: [7] } },
      "agrees",
      "mayDiffer",
    ],
    [
      "the tap, out of its VLAN",
      { kind: "linkChanged", link: { ...port, portVlans: [1] } },
      "mayDiffer",
      "mayDiffer",
    ],
    ["the tap, in no VLAN that is told", { kind: "linkChanged", link: port }, "mayDiffer", "mayDiffer"],
    ["the bridge, which may snoop now", { kind: "linkChanged", link: bridge }, "mayDiffer", "mayDiffer"],
  ] satisfies readonly [string, KernelChange, "agrees" | "mayDiffer", "agrees" | "mayDiffer"][]) {
    it(`is looked at where it can matter: ${what}`, () => {
      assert.equal(tapOnBridge.mend.hear(nic, place, change, "registered"), whenRegistered);
      assert.equal(tapOnBridge.mend.hear(nic, place, change, "quarantined"), whenQuarantined);
    });
  }
});

function kernelFor({ vlans }: TapOnBridgeNic): PretendedKernel {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0", { multicastSnooping: "on", vlanFiltering: vlans === undefined ? "off" : "on" });
  kernel.addVxlan("vx0", "br0");
  return kernel;
}

function prepared(kernel: PretendedKernel, nic: TapOnBridgeNic) {
  const nics = prepareNics({ route: kernel, factory: kernel }, [nic]);
  const ownerships = new Map(nics.map(({ nicId, ownership }) => [nicId, ownership]));
  return { ownerships, set: armNicSet(kernel, [nic], () => 0) };
}

function carryOut(kernel: PretendedKernel, request: RouteRequest | undefined): void {
  assert.ok(request);
  assert.deepEqual(kernel.execute({ requests: [request] }), [{ ok: true, messages: [] }]);
}

function refusalsOf(kernel: PretendedKernel, nic: TapOnBridgeNic): readonly string[] {
  return preflightNics(kernel, [nic]).map(({ reason, field }) => `${reason} ${field}`);
}
