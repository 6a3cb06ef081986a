import assert from "node:assert/strict";
import { test } from "node:test";
import { checkNicDefinitions } from "../../agent/device/check-nics.ts";
import { parseDeviceName } from "../../agent/device/device-name.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";

const NIC: TapOnBridgeNic = {
  type: "tapOnBridge",
  nicId: "net0",
  macAddress: parseMacAddress("52:54:00:00:00:01", ""),
  deviceName: "tap0",
  bridge: "br0",
  macTableManager: "switchover",
  sticky: "sticky",
};

test("a device name is up to fifteen printable characters without slash, colon, percent or space", () => {
  for (const name of ["tap0", "a", "vm-12_net.0", "x".repeat(15)]) {
    assert.equal(parseDeviceName(name, "device_name"), name);
  }
  for (const [name, reason] of [
    ["", "REQUIRED"],
    ["x".repeat(16), "DEVICE_NAME_TOO_LONG"],
    ["a/b", "MALFORMED"],
    ["a b", "MALFORMED"],
    ["tap%d", "MALFORMED"],
    ["a:b", "MALFORMED"],
    ["..", "MALFORMED"],
    ["tap\0", "MALFORMED"],
    ["täp", "MALFORMED"],
  ] as const) {
    assert.throws(() => parseDeviceName(name, "nics[0].device_name"), {
      code: "INVALID_ARGUMENT",
      reason,
      field: "nics[0].device_name",
    });
  }
});

test("two NICs share neither id nor device nor MAC on one bridge, and no device is its own bridge", () => {
  checkNicDefinitions([NIC, { ...NIC, nicId: "net1", deviceName: "tap1", bridge: "br1" }]);
  for (const [second, field] of [
    [{ ...NIC, deviceName: "tap1" }, "nics[1].nic_id"],
    [{ ...NIC, nicId: "net1", deviceName: "tap1" }, "nics[1].mac_address"],
    [{ ...NIC, nicId: "net1" }, "nics[1].tap_on_bridge.device_name"],
    [{ ...NIC, nicId: "net1", deviceName: "br0" }, "nics[1].tap_on_bridge.device_name"],
  ] as const) {
    assert.throws(() => checkNicDefinitions([NIC, second]), { code: "INVALID_ARGUMENT", field });
  }
});

test("a macvtap in passthrough has its parent to itself, whichever NIC comes first", () => {
  const macvtap = (index: number, mode: MacvtapNic["mode"], parent = "eth0"): MacvtapNic => ({
    type: "macvtap",
    nicId: `net${index}`,
    macAddress: parseMacAddress(`52:54:00:00:00:0${index}`, ""),
    deviceName: `mv${index}`,
    parent,
    mode,
  });
  checkNicDefinitions([macvtap(1, "bridge"), macvtap(2, "vepa"), macvtap(3, "passthrough", "eth1")]);
  for (const [first, second] of [
    ["passthrough", "passthrough"],
    ["passthrough", "bridge"],
    ["private", "passthrough"],
  ] as const) {
    assert.throws(() => checkNicDefinitions([macvtap(1, first), macvtap(2, second)]), {
      code: "INVALID_ARGUMENT",
      reason: "DUPLICATE",
      field: "nics[1].macvtap.parent",
    });
  }
  assert.throws(() => checkNicDefinitions([macvtap(1, "passthrough", "br0"), NIC]), {
    code: "INVALID_ARGUMENT",
    field: "nics[1].tap_on_bridge.bridge",
  });
});

test("a guest has at most 64 NICs", () => {
  const nics = Array.from({ length: 65 }, (_, index) => ({
    ...NIC,
    nicId: `net${index}`,
    deviceName: `tap${index}`,
    macAddress: parseMacAddress(`52:54:00:00:01:${index.toString(16).padStart(2, "0")}`, "mac_address"),
  }));
  checkNicDefinitions(nics.slice(1));
  assert.throws(() => checkNicDefinitions(nics), { code: "INVALID_ARGUMENT", field: "nics" });
});
