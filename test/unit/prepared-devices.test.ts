import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type PreparedNic, prepareNics } from "../../agent/device/nic-preparation.ts";
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

function nicAt(index: number): TapOnBridgeNic {
  const nic = NICS[index];
  if (nic === undefined) throw new Error(`there is no NIC ${index}`);
  return nic;
}

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

/** With a third one prepared, on br1. */
function withThird() {
  const { kernel, devices } = prepared();
  const host = { route: kernel, factory: kernel };
  const third: TapOnBridgeNic = {
    ...nicAt(1),
    nicId: "net2",
    macAddress: parseMacAddress("52:54:00:00:00:03", ""),
    deviceName: "tap2",
  };
  const [found] = prepareNics(host, [third]);
  if (found === undefined) throw new Error("not prepared");
  devices.add(third, found);
  return { kernel, devices };
}

const prepareless: PreparedNic = {
  nicId: "",
  deviceName: "tap0",
  ifindex: 1,
  ownership: { device: "existing", port: "existing" },
};

const THIRD_REGISTERED = "br1 52:54:00:00:00:03 tap2 static sticky";

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

describe("the devices of a guest that gets one more", () => {
  it("are started and stopped together from then on", () => {
    const { kernel, devices } = withThird();
    assert.equal(kernel.renderEntries(), "");
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), `${ALL_REGISTERED}\n${THIRD_REGISTERED}`);
    assert.deepEqual(devices.stop(), { ok: true });
    assert.equal(kernel.renderEntries(), "");
  });

  it("are started and stopped one by one where that is asked", () => {
    const { kernel, devices } = withThird();
    assert.deepEqual(devices.startOne("net2"), { ok: true });
    assert.equal(kernel.renderEntries(), THIRD_REGISTERED);
    assert.deepEqual(devices.stopOne("net2"), { ok: true });
    assert.equal(kernel.renderEntries(), "");
  });

  it("are as before once that is removed, and its device is gone", () => {
    const { kernel, devices } = withThird();
    assert.deepEqual(devices.remove("net2"), { ok: true });
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), ALL_REGISTERED);
    assert.deepEqual(devices.placeOf("net2"), undefined);
  });

  it("take none that serves a NIC already, and stay what they were", () => {
    const { devices } = withThird();
    assert.throws(() => devices.add(nicAt(0), { ...prepareless, nicId: "net0" }), {
      code: "INVALID_ARGUMENT",
    });
    assert.deepEqual(
      devices.nics.map(({ nicId }) => nicId),
      ["net0", "net1", "net2"],
    );
  });

  it("leave those in quarantine that are withheld, and mend that quarantine", () => {
    const { kernel, devices } = withThird();
    devices.withhold(["net2"]);
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), ALL_REGISTERED);
    assert.deepEqual(devices.findDrift("registered"), []);
    devices.startOne("net2");
    assert.deepEqual(
      devices.findDrift("registered").map(({ nicId }) => nicId),
      ["net2"],
    );
    assert.deepEqual(devices.mend("registered"), { result: "mended" });
    assert.equal(kernel.renderEntries(), ALL_REGISTERED);
    devices.withhold([]);
    assert.deepEqual(devices.start(), { ok: true });
    assert.equal(kernel.renderEntries(), `${ALL_REGISTERED}\n${THIRD_REGISTERED}`);
  });
});
