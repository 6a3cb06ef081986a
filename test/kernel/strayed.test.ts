import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { PreparedDevices } from "../../agent/instance/prepared-devices.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, macvtapNic, routedNic, tapNic, withHost } from "./guest-nics.ts";
import { fdbOf, linkOf, routedOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

function rename(from: string, to: string): void {
  run("ip", "link", "set", from, "name", to);
}

/** A registered tap on br0, macvtap and routed tap; then `estrange` is what others do to them, and they are armed anew. */
function strayed(estrange: () => void, body: (devices: PreparedDevices) => void) {
  return inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "link", "add", "eth0", "up", "type", "veth", "peer", "name", "far0");
      run("ip", "link", "set", "far0", "up");
      const nics = [tapNic(0), macvtapNic(1), routedNic(2)];
      const devices = PreparedDevices.armed(host, nics, prepareNics(host, nics), clockUs);
      assert.deepEqual(devices.start(), { ok: true });
      estrange();
      devices.withhold(["none of them"]);
      body(devices);
    }),
  );
}

function assertDeregistered(names: { tap?: string; macvtap?: string; routed?: string } = {}): void {
  const { macvtap = "mv1", routed = "tap2" } = names;
  assert.equal(fdbOf(macOf(0)), "");
  assert.match(linkOf(macvtap), / down DOWN /);
  assert.doesNotMatch(routedOf(routed), /169\.254\.0\.1|192\.0\.2\.9|fe80::1/);
}

describe("a device that strayed from its definition is stopped where it is:", options, () => {
  it("its bridge and its parent renamed", () =>
    strayed(
      () => {
        rename("br0", "br9");
        rename("eth0", "eth9");
      },
      (devices) => {
        assert.equal(fdbOf(macOf(0)), "tap0 br9 static sticky");
        assert.match(linkOf("mv1"), / up UP /);
        assert.deepEqual(devices.stop(), { ok: true });
        assertDeregistered();
        assert.deepEqual(devices.findDrift("quarantined"), []);
      },
    ));

  it("itself renamed", () =>
    strayed(
      () => {
        rename("tap0", "tap9");
        rename("mv1", "mv9");
        rename("tap2", "tap8");
      },
      (devices) => {
        assert.equal(fdbOf(macOf(0)), "tap9 br0 static sticky");
        assert.equal(devices.findDrift("quarantined").length, 3);
        assert.deepEqual(devices.mend("quarantined"), { result: "mended" });
        assertDeregistered({ macvtap: "mv9", routed: "tap8" });
      },
    ));

  it("its mode changed, or itself a port", () =>
    strayed(
      () => {
        run("ip", "link", "set", "mv1", "type", "macvtap", "mode", "vepa");
        run("ip", "link", "set", "tap2", "master", "br0");
        run("ip", "link", "del", "tap0");
      },
      (devices) => {
        for (const nicId of ["net0", "net1", "net2"]) assert.deepEqual(devices.stopOne(nicId), { ok: true });
        assertDeregistered();
        assert.deepEqual(devices.findDrift("quarantined"), []);
      },
    ));
});
