import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { asFound } from "../../agent/device/macvtap/parent.ts";
import { macvtapPreparation } from "../../agent/device/macvtap/preparation.ts";
import type { Link } from "../../agent/netlink/link.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";

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
    const [refusal] = macvtapPreparation.refusals(NIC, links, []);
    assert.deepEqual([refusal?.reason, refusal?.field], ["PARENT_IN_USE", "macvtap.parent"]);
    assert.deepEqual(macvtapPreparation.refusals({ ...NIC, mode: "bridge" }, links, []), []);
  });

  it("is never given the guest's address back as its own, when a device is prepared anew", () => {
    const found = asFound(link("eth0", 2, { macAddress: NIC.macAddress, state: "down" }), NIC);
    assert.deepEqual(found, { state: "down" });
  });
});
