import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceTypeOf } from "../../agent/device/device-types.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import type { NicDefinition } from "../../agent/device/nic-definition.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import type { Link } from "../../agent/netlink/link.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";

const IDENTITY = { nicId: "net0", macAddress: parseMacAddress("52:54:00:00:00:01", "") };
const TAP: TapOnBridgeNic = {
  type: "tapOnBridge",
  ...IDENTITY,
  deviceName: "tap0",
  bridge: "br0",
  macTableManager: "switchover",
  sticky: "sticky",
};
const MACVTAP: MacvtapNic = {
  type: "macvtap",
  ...IDENTITY,
  deviceName: "mv0",
  parent: "eth0",
  mode: "bridge",
};

const LINKS: readonly Link[] = [
  link(1, "br0", { kind: "bridge" }),
  link(2, "veth1", { kind: "veth", masterIfindex: 1, portState: "forwarding" }),
  link(3, "eth0", { masterIfindex: 1, portState: "forwarding" }),
  link(4, "vx0", { kind: "vxlan", masterIfindex: 1, portState: "forwarding" }),
  link(5, "tap0", { kind: "tun", tunMode: "tap", masterIfindex: 1, portState: "forwarding" }),
  link(6, "tap9", { kind: "tun", tunMode: "tap", masterIfindex: 1, portState: "forwarding" }),
  link(7, "eth1", { masterIfindex: 1, portState: "blocked" }),
  link(8, "eth2", { masterIfindex: 1, state: "down" }),
  link(9, "br1", { kind: "bridge" }),
  link(10, "eth3", { masterIfindex: 9, portState: "forwarding" }),
];

function link(ifindex: number, name: string, change: Partial<Link>): Link {
  return { ifindex, name, state: "up", operState: "up", mtu: 1500, txQueueLength: 1000, ...change };
}

function announcedOn(nic: NicDefinition, links = LINKS): readonly (string | undefined)[] {
  return deviceTypeOf(nic)
    .announceOn(nic, links)
    .map(({ ifindex }) => links.find((its) => its.ifindex === ifindex)?.name);
}

test("a tap is announced on its bridge's other ports that forward, but on no tap, and on veths last", () => {
  assert.deepEqual(announcedOn(TAP), ["eth0", "vx0", "veth1"]);
  assert.deepEqual(announcedOn({ ...TAP, bridge: "br2" }), []);
  assert.deepEqual(announcedOn({ ...TAP, bridge: "eth0" }), []);
});

test("a tap in VLANs is announced on each link in each of them, tagged also where the tap itself is not", () => {
  const pathsIn = (vlans: readonly number[]) =>
    deviceTypeOf(TAP)
      .announceOn({ ...TAP, vlans }, LINKS)
      .map(({ ifindex, vlan }) => `${ifindex} in ${vlan}`);
  assert.deepEqual(pathsIn([7]), ["3 in 7", "4 in 7", "2 in 7"]);
  assert.deepEqual(pathsIn([7, 4094]), [
    ...["3 in 7", "3 in 4094"],
    ...["4 in 7", "4 in 4094"],
    ...["2 in 7", "2 in 4094"],
  ]);
});

test("a macvtap is announced on its parent where that is up, and an unmanaged NIC nowhere", () => {
  assert.deepEqual(announcedOn(MACVTAP), ["eth0"]);
  assert.deepEqual(announcedOn({ ...MACVTAP, parent: "eth2" }), []);
  assert.deepEqual(announcedOn({ type: "unmanaged", ...IDENTITY, kind: "hostdev" }), []);
});
