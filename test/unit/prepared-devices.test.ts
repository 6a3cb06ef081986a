import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { type PreparedNic, prepareNics } from "../../agent/device/nic-preparation.ts";
import type { RoutedTapNic } from "../../agent/device/routed-tap/definition.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { PreparedDevices } from "../../agent/instance/prepared-devices.ts";
import { parseIpPrefix } from "../../proto/ip-prefix.ts";
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
    const devices = PreparedDevices.remembered("ofPreparation", host, NICS, remembered, () => 0);
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

const MACVTAP: MacvtapNic = {
  type: "macvtap",
  nicId: "net8",
  macAddress: parseMacAddress("52:54:00:00:00:08", ""),
  deviceName: "mv0",
  parent: "eth0",
  mode: "bridge",
};
const ROUTED: RoutedTapNic = {
  type: "routedTap",
  nicId: "net9",
  macAddress: parseMacAddress("52:54:00:00:00:09", ""),
  deviceName: "rt0",
  hostAddresses: [parseIpPrefix("169.254.0.1/32", "")],
  routes: [parseIpPrefix("192.0.2.9/32", "")],
};

/** A tap, a macvtap and a routed tap, all registered, then `estranged` by others, and armed anew in vain. */
function strayed(estrange: (kernel: PretendedKernel) => void, mode: MacvtapNic["mode"] = "bridge") {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0");
  kernel.addParent("eth0");
  const host = { route: kernel, factory: kernel };
  const nics = [nicAt(0), { ...MACVTAP, mode }, ROUTED];
  const found = prepareNics(host, nics);
  const devices = PreparedDevices.armed(host, nics, found, () => 0);
  assert.deepEqual(devices.start(), { ok: true });
  estrange(kernel);
  devices.withhold(["none of them"]);
  return { kernel, host, nics, found, devices };
}

function registeredIn(kernel: PretendedKernel): string {
  const up = kernel
    .renderMacvtaps()
    .split("\n")
    .filter((line) => / up /.test(line) && line.includes(" on "));
  return [kernel.renderEntries(), ...up, kernel.renderRouting()].filter((text) => text !== "").join("\n");
}

const STRAYS = [
  { what: "a bridge and a parent", renamed: ["br0", "eth0"] },
  { what: "the devices", renamed: ["tap0", "mv0", "rt0"] },
] as const;

function rename(kernel: PretendedKernel, ...names: readonly string[]): void {
  for (const name of names) kernel.change(name, { name: `${name}x` });
}

describe("devices that strayed from their definitions", () => {
  for (const mode of ["bridge", "passthrough"] as const) {
    for (const { what, renamed } of STRAYS) {
      it(`are stopped where they are when others renamed ${what} (${mode})`, () => {
        const { kernel, devices } = strayed((kernel) => rename(kernel, ...renamed), mode);
        assert.notEqual(registeredIn(kernel), "");
        assert.deepEqual(devices.stop(), { ok: true });
        assert.equal(registeredIn(kernel), "");
        const parent = kernel.link("eth0") ?? kernel.link("eth0x");
        assert.equal(parent?.state, mode === "passthrough" ? "down" : "up");
      });
    }
  }

  it("are stopped where they are when others put them into another mode, or made them ports", () => {
    const { kernel, devices } = strayed((kernel) => {
      kernel.addBridge("br9");
      const masterIfindex = kernel.link("br9")?.ifindex ?? 0;
      kernel.change("mv0", { macvlanMode: "vepa" });
      kernel.change("rt0", { masterIfindex });
      rename(kernel, "br0");
    });
    for (const nicId of ["net0", "net8", "net9"]) assert.deepEqual(devices.stopOne(nicId), { ok: true });
    assert.equal(registeredIn(kernel), "");
  });

  it("are no quarantined ones until they are stopped, which mends them", () => {
    for (const { renamed } of STRAYS) {
      const { kernel, devices } = strayed((kernel) => rename(kernel, ...renamed));
      const drifts = devices.findDrift("quarantined").map(({ nicId, extent }) => `${nicId} ${extent}`);
      assert.deepEqual(drifts, ["net0 drifted", "net8 drifted", "net9 drifted"]);
      assert.deepEqual(devices.mend("quarantined"), { result: "mended" });
      assert.deepEqual(devices.findDrift("quarantined"), []);
      assert.equal(registeredIn(kernel), "");
    }
  });

  it("are found by an agent that came back in the same boot; after another one their numbers are other devices'", () => {
    for (const boot of ["ofPreparation", "another"] as const) {
      const { kernel, host, nics, found } = strayed((kernel) => rename(kernel, "mv0"));
      const devices = PreparedDevices.remembered(boot, host, nics, found, () => 0);
      assert.deepEqual(devices.stop(), { ok: true });
      assert.equal(kernel.link("mv0x")?.state, boot === "another" ? "up" : "down");
    }
  });

  it("are gone where the kernel has them no more, which is a stop", () => {
    const { devices } = strayed((kernel) => {
      for (const name of ["tap0", "mv0", "rt0"]) kernel.remove(name);
    });
    assert.deepEqual(devices.stop(), { ok: true });
    assert.deepEqual(devices.findDrift("quarantined"), []);
  });
});
