import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { PreparedDevices } from "../../agent/instance/prepared-devices.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const NICS: readonly TapOnBridgeNic[] = ["br0", "br1"].map((bridge, index) => ({
  type: "tapOnBridge",
  nicId: `net${index}`,
  macAddress: parseMacAddress(`52:54:00:00:00:0${index + 1}`, ""),
  deviceName: `tap${index}`,
  bridge,
  macTableManager: "switchover",
  sticky: "sticky",
}));

const ALL_REGISTERED = [
  "br0 52:54:00:00:00:01 tap0 static sticky",
  "br1 52:54:00:00:00:02 tap1 static sticky",
].join("\n");

function prepared(): { readonly kernel: PretendedKernel; readonly devices: PreparedDevices } {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0");
  kernel.addBridge("br1");
  const host = { route: kernel, factory: kernel };
  return { kernel, devices: PreparedDevices.armed(host, NICS, prepareNics(host, NICS), () => 0) };
}

describe("the devices of a guest that stands", () => {
  it("are registered at its start also where a bridge was made anew meanwhile", () => {
    const { kernel, devices } = prepared();
    kernel.remove("br0");
    kernel.addBridge("br0");
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), ALL_REGISTERED);
  });

  it("are not registered at all where a bridge is gone", () => {
    const { kernel, devices } = prepared();
    kernel.remove("br0");
    assert.equal(devices.start().ok, false);
    assert.equal(kernel.renderEntries(), "");
  });

  it("are registered once the bridge is back, for an agent that came back without it", () => {
    const { kernel } = prepared();
    const host = { route: kernel, factory: kernel };
    const remembered = prepareNics(host, NICS).map((nic) => ({
      ...nic,
      ownership: { device: "created", port: "attached" } as const,
    }));
    kernel.remove("br1");
    const devices = PreparedDevices.remembered(host, NICS, remembered, () => 0);
    assert.equal(devices.start().ok, false);
    kernel.addBridge("br1");
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), ALL_REGISTERED);
  });
});
