import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseNics, toNicMessage } from "../../agent/instance/nic-message.ts";
import {
  EntryMobility,
  MacTableManager,
  NicDefinition,
  type TapOnBridge,
} from "../../proto/gen/switchover/v1/nic.ts";

const MAC = "52:54:00:00:00:01";
const VXLAN = { deviceName: "vx0", vtepAddress: "10.0.0.1", vni: undefined };

interface Change {
  readonly additionalMacAddresses?: readonly string[];
  readonly tap?: Partial<TapOnBridge>;
}

describe("a NIC's definition", () => {
  it("is the same in the contract and in the agent, with all that can go with a registration", () => {
    const message = nic({
      additionalMacAddresses: ["52:54:00:00:00:02"],
      tap: { vlans: [7], multicastGroups: ["239.1.2.3", "ff05::1234"], vxlan: { ...VXLAN, vni: 100 } },
    });
    const [parsed = assert.fail()] = parseNics([message]);
    assert.deepEqual(toNicMessage(parsed), message);
  });

  it("holds nothing of what it does not ask for, as in journals of agents that knew none of it", () => {
    const [parsed = assert.fail()] = parseNics([nic({})]);
    assert.deepEqual(Object.keys(parsed).sort(), [
      "bridge",
      "deviceName",
      "macAddress",
      "macTableManager",
      "nicId",
      "sticky",
      "type",
    ]);
  });

  it("is taken in its canonical form", () => {
    const [parsed = assert.fail()] = parseNics([
      nic({
        additionalMacAddresses: ["52:54:00:00:00:AA"],
        tap: {
          multicastGroups: ["FF05:0:0::1234", "01:02:03:04:05:AB"],
          vxlan: { ...VXLAN, vtepAddress: "FD00:0::1" },
        },
      }),
    ]);
    assert.deepEqual(parsed.additionalMacAddresses, ["52:54:00:00:00:aa"]);
    assert.ok(parsed.type === "tapOnBridge");
    assert.deepEqual(parsed.multicastGroups, ["ff05::1234", "01:02:03:04:05:ab"]);
    assert.equal(parsed.vxlan?.vtepAddress, "fd00::1");
  });

  const additional = "additional_mac_addresses";
  const many = (count: number): readonly string[] =>
    Array.from({ length: count }, (_, index) => `52:54:00:00:01:${index.toString(16).padStart(2, "0")}`);
  const group = (text: string): Change => ({ tap: { multicastGroups: ["239.1.2.3", text] } });
  const vxlan = (change: Partial<typeof VXLAN> | { readonly vni: number }): Change => ({
    tap: { vxlan: { ...VXLAN, ...change } },
  });
  for (const [what, change, field, reason] of [
    [
      "a multicast address",
      { additionalMacAddresses: ["01:00:5e:00:00:01"] },
      `${additional}[0]`,
      "MAC_MULTICAST",
    ],
    ["the zero address", { additionalMacAddresses: ["00:00:00:00:00:00"] }, `${additional}[0]`, "MAC_ZERO"],
    ["an address that is none", { additionalMacAddresses: ["52:54"] }, `${additional}[0]`, "MALFORMED"],
    [
      "its first address once more",
      { additionalMacAddresses: [many(1)[0] ?? "", MAC] },
      `${additional}[1]`,
      "DUPLICATE",
    ],
    [
      "an address twice",
      { additionalMacAddresses: [...many(1), ...many(1)] },
      `${additional}[1]`,
      "DUPLICATE",
    ],
    ["more addresses than a NIC has", { additionalMacAddresses: many(65) }, additional, "TOO_MANY"],
    ["VLAN 0", { tap: { vlans: [7, 0] } }, "tap_on_bridge.vlans[1]", "VLAN_OUT_OF_RANGE"],
    ["VLAN 4095", { tap: { vlans: [4095] } }, "tap_on_bridge.vlans[0]", "VLAN_OUT_OF_RANGE"],
    ["a VLAN twice", { tap: { vlans: [7, 8, 7] } }, "tap_on_bridge.vlans[2]", "DUPLICATE"],
    [
      "more VLANs than a NIC has",
      { tap: { vlans: Array.from({ length: 65 }, (_, index) => index + 1) } },
      "tap_on_bridge.vlans",
      "TOO_MANY",
    ],
    [
      "more entries than a start sends",
      {
        additionalMacAddresses: many(10),
        tap: { vlans: Array.from({ length: 24 }, (_, index) => index + 1) },
      },
      "tap_on_bridge.vlans",
      "TOO_MANY",
    ],
    ["a local IPv4 group", group("224.0.0.251"), "tap_on_bridge.multicast_groups[1]", "GROUP_RESERVED"],
    ["the group of all nodes", group("ff02:0::1"), "tap_on_bridge.multicast_groups[1]", "GROUP_RESERVED"],
    ["a group of the host's own", group("ff01::5"), "tap_on_bridge.multicast_groups[1]", "GROUP_RESERVED"],
    [
      "the broadcast address",
      group("ff:ff:ff:ff:ff:ff"),
      "tap_on_bridge.multicast_groups[1]",
      "GROUP_RESERVED",
    ],
    [
      "an address of bridges'",
      group("01:80:c2:00:00:0e"),
      "tap_on_bridge.multicast_groups[1]",
      "GROUP_RESERVED",
    ],
    [
      "the MAC address of IPv4 groups",
      group("01:00:5e:01:02:03"),
      "tap_on_bridge.multicast_groups[1]",
      "UNSUPPORTED",
    ],
    [
      "the MAC address of IPv6 groups",
      group("33:33:00:00:12:34"),
      "tap_on_bridge.multicast_groups[1]",
      "UNSUPPORTED",
    ],
    ["a unicast IPv4 address", group("10.0.0.1"), "tap_on_bridge.multicast_groups[1]", "NOT_MULTICAST"],
    ["a unicast IPv6 address", group("fd00::1"), "tap_on_bridge.multicast_groups[1]", "NOT_MULTICAST"],
    ["a unicast MAC address", group(MAC), "tap_on_bridge.multicast_groups[1]", "NOT_MULTICAST"],
    ["a group that is none", group("239.1.2"), "tap_on_bridge.multicast_groups[1]", "MALFORMED"],
    ["a group twice", group("239.1.2.3"), "tap_on_bridge.multicast_groups[1]", "DUPLICATE"],
    [
      "a group on a bridge of the kernel's",
      { tap: { multicastGroups: ["239.1.2.3"], macTableManager: MacTableManager.KERNEL } },
      "tap_on_bridge.multicast_groups",
      "UNSUPPORTED",
    ],
    [
      "a VXLAN entry on a bridge of the kernel's",
      { tap: { vxlan: VXLAN, macTableManager: MacTableManager.KERNEL } },
      "tap_on_bridge.vxlan",
      "UNSUPPORTED",
    ],
    [
      "a VXLAN entry for two VLANs",
      { tap: { vxlan: VXLAN, vlans: [7, 8] } },
      "tap_on_bridge.vxlan",
      "UNSUPPORTED",
    ],
    [
      "a VXLAN device without a name",
      vxlan({ deviceName: "" }),
      "tap_on_bridge.vxlan.device_name",
      "REQUIRED",
    ],
    [
      "a VXLAN device that is the bridge",
      vxlan({ deviceName: "br0" }),
      "tap_on_bridge.vxlan.device_name",
      "MALFORMED",
    ],
    ["no VTEP", vxlan({ vtepAddress: "" }), "tap_on_bridge.vxlan.vtep_address", "MALFORMED"],
    [
      "a group as VTEP",
      vxlan({ vtepAddress: "239.1.2.3" }),
      "tap_on_bridge.vxlan.vtep_address",
      "NOT_UNICAST",
    ],
    ["no address as VTEP", vxlan({ vtepAddress: "::" }), "tap_on_bridge.vxlan.vtep_address", "NOT_UNICAST"],
    ["VNI 0", vxlan({ vni: 0 }), "tap_on_bridge.vxlan.vni", "VNI_OUT_OF_RANGE"],
    ["a VNI of 25 bits", vxlan({ vni: 0x100_0000 }), "tap_on_bridge.vxlan.vni", "VNI_OUT_OF_RANGE"],
  ] satisfies readonly [string, Change, string, string][]) {
    it(`is refused with its field for ${what}`, () => {
      assert.throws(() => parseNics([nic(change)]), {
        code: "INVALID_ARGUMENT",
        field: `nics[0].${field}`,
        reason,
      });
    });
  }

  it("shares none of its addresses with another NIC on its bridge", () => {
    const other = (bridge: string, macAddress: string): NicDefinition =>
      NicDefinition.fromPartial({
        nicId: "net1",
        macAddress: "52:54:00:00:00:09",
        additionalMacAddresses: [macAddress],
        device: { $case: "tapOnBridge", value: { deviceName: "tap1", bridge } },
      });
    const first = nic({ additionalMacAddresses: ["52:54:00:00:00:02"] });
    for (const mac of [MAC, "52:54:00:00:00:02"]) {
      parseNics([first, other("br1", mac)]);
      assert.throws(() => parseNics([first, other("br0", mac)]), {
        field: "nics[1].additional_mac_addresses[0]",
        reason: "DUPLICATE",
      });
    }
  });

  it("has one address where its device takes no more", () => {
    const message = NicDefinition.fromPartial({
      nicId: "net0",
      macAddress: MAC,
      additionalMacAddresses: ["52:54:00:00:00:02"],
      device: { $case: "unmanaged", value: { kind: 1 } },
    });
    assert.throws(() => parseNics([message]), {
      code: "INVALID_ARGUMENT",
      field: "nics[0].additional_mac_addresses",
      reason: "UNSUPPORTED",
    });
  });
});

function nic({ additionalMacAddresses = [], tap = {} }: Change): NicDefinition {
  const value = {
    deviceName: "tap0",
    bridge: "br0",
    macTableManager: MacTableManager.SWITCHOVER,
    entryMobility: EntryMobility.STICKY,
    vlans: [],
    multicastGroups: [],
    vxlan: undefined,
    ...tap,
  };
  return {
    nicId: "net0",
    macAddress: MAC,
    additionalMacAddresses: [...additionalMacAddresses],
    guestAddresses: [],
    device: { $case: "tapOnBridge", value },
  };
}
