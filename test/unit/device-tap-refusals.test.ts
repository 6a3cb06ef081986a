import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preflightNics } from "../../agent/device/nic-preparation.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
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
const VTEP = parseIpAddress("10.0.0.1", "");

describe("what this host cannot honour", () => {
  const withVxlan = (change: Partial<NonNullable<TapOnBridgeNic["vxlan"]>> = {}): TapOnBridgeNic => ({
    ...PLAIN,
    vxlan: { deviceName: "vx0", vtepAddress: VTEP, ...change },
  });

  for (const [what, nic, refusal, change] of [
    [
      "VLANs on a bridge that does not filter",
      { ...PLAIN, vlans: [7] },
      "BRIDGE_NOT_VLAN_AWARE nics[0].tap_on_bridge.vlans",
    ],
    [
      "no VLAN on a bridge that filters",
      PLAIN,
      "BRIDGE_VLAN_AWARE nics[0].tap_on_bridge.bridge",
      (kernel) => kernel.change("br0", { vlanFiltering: "on" }),
    ],
    [
      "a missing VXLAN device",
      withVxlan({ deviceName: "vx9" }),
      "VXLAN_MISSING nics[0].tap_on_bridge.vxlan.device_name",
    ],
    [
      "a VXLAN device that is none",
      withVxlan({ deviceName: "up0" }),
      "NOT_A_VXLAN nics[0].tap_on_bridge.vxlan.device_name",
    ],
    [
      "a VXLAN device elsewhere",
      withVxlan(),
      "VXLAN_NOT_A_PORT nics[0].tap_on_bridge.vxlan.device_name",
      (kernel) => kernel.leaveBridge("vx0"),
    ],
    [
      "another VTEP than the device's",
      withVxlan({ vtepAddress: parseIpAddress("10.0.0.2", "") }),
      "VTEP_ADDRESS_DIFFERS nics[0].tap_on_bridge.vxlan.vtep_address",
    ],
    ["another VNI than the device's", withVxlan({ vni: 7 }), "VNI_DIFFERS nics[0].tap_on_bridge.vxlan.vni"],
    [
      "no VNI for a device that needs one",
      withVxlan(),
      "VNI_REQUIRED nics[0].tap_on_bridge.vxlan.vni",
      (kernel) => kernel.change("vx0", { vxlan: { vni: 0, vniFrom: "entry" } }),
    ],
    [
      "a second address that is the bridge's own",
      { ...PLAIN, additionalMacAddresses: [SECOND_MAC] },
      "MAC_OF_BRIDGE nics[0].additional_mac_addresses[0]",
      (kernel) => kernel.change("br0", { macAddress: SECOND_MAC }),
    ],
  ] satisfies readonly [string, TapOnBridgeNic, string, ((kernel: PretendedKernel) => void)?][]) {
    it(`is refused by name: ${what}`, () => {
      const kernel = new PretendedKernel();
      kernel.addBridge("br0");
      kernel.addVxlan("vx0", "br0");
      kernel.addPort("up0", "br0");
      change?.(kernel);
      const { changes } = kernel;
      assert.deepEqual(refusalsOf(kernel, nic), [refusal]);
      assert.equal(kernel.changes, changes);
    });
  }
});

function refusalsOf(kernel: PretendedKernel, nic: TapOnBridgeNic): readonly string[] {
  return preflightNics(kernel, [nic]).map(({ reason, field }) => `${reason} ${field}`);
}
