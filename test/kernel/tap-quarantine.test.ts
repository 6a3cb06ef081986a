import assert from "node:assert/strict";
import { test } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, tapNic, tapNics, withHost } from "./guest-nics.ts";
import { deviceNames, eventually, fdbOf, portOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const PEER = "02:00:00:00:00:99";
const QUARANTINED = "tap0 br0 up none learning=off flood=off mcast=off bcast=off";
const options = { skip: skipWithout("root"), timeout: 30_000 };

test("a created tap is a quarantined port with an address of its own, and is ours", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "link", "set", "br0", "mtu", "1400");
      const [first] = prepareNics(host, [tapNic(0)]);
      const [second] = prepareNics(host, [tapNic(0)]);

      assert.equal(portOf("tap0"), QUARANTINED);
      assert.deepEqual(first?.ownership, { device: "created", port: "attached" });
      assert.deepEqual(second, first);
      const shown = run("ip", "link", "show", "dev", "tap0");
      assert.match(shown, /link\/ether fe:/);
      assert.match(shown, / mtu 1400 /);
    }),
  ),
);

test("an existing tap is taken over: the stale entry and the guest's address go", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "link", "set", "br0", "address", "02:00:00:00:00:01");
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "address", macOf(0), "master", "br0");
      run("ip", "link", "set", "tap0", "up");
      run("ip", "tuntap", "add", "tap1", "mode", "tap");
      run("ip", "link", "set", "tap1", "master", "br0");
      run("bridge", "fdb", "replace", macOf(1), "dev", "tap1", "master", "static");
      assert.equal(fdbOf(macOf(0)), "tap0 br0 permanent");
      assert.equal(fdbOf(macOf(1)), "tap1 br0 static");

      const prepared = prepareNics(host, tapNics(2));

      assert.deepEqual(
        prepared.map(({ ownership }) => ownership),
        Array(2).fill({ device: "existing", port: "existing" }),
      );
      assert.equal(portOf("tap0"), QUARANTINED);
      assert.equal(fdbOf(macOf(0)), "");
      assert.equal(fdbOf(macOf(1)), "");
    }),
  ),
);

test("no frame of the host leaves on a prepared tap (trap 8)", options, () =>
  inNetworkNamespace(() =>
    withHost(async (host) => {
      addBridge("br0");
      const control = new TapEnd("control");
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      const guest = new TapEnd("tap0");
      prepareNics(host, [tapNic(0)]);
      run("ip", "link", "set", "control", "up");
      // The control's router solicitation comes last, after its MLD reports and its duplicate address detection.
      const isRouterSolicitation = (frame: Buffer): boolean =>
        frame.readUInt16BE(12) === 0x86dd && frame[54] === 133;
      const heard: Buffer[] = [];
      await eventually("the control's own frames", () => {
        heard.push(...control.frames());
        return heard.some(isRouterSolicitation) ? true : undefined;
      });
      assert.deepEqual(guest.frames(), []);
      guest.close();
      control.close();
    }),
  ),
);

test(
  "a quarantined tap buffers neither broadcast nor unknown unicast; a started one hears broadcast (trap 9)",
  options,
  () =>
    inNetworkNamespace(() =>
      withHost(async (host) => {
        addBridge("br0");
        const uplink = addUplink("up0", "br0");
        const bystander = addUplink("other0", "br0");
        const nics = [tapNic(0)];
        prepareNics(host, nics);
        const guest = new TapEnd("tap0");
        const hear = (text: string): Promise<true> =>
          eventually(text, () => (bystander.texts().includes(text) ? true : undefined));

        uplink.send(PEER, BROADCAST, "broadcast");
        await hear("broadcast");
        uplink.send(PEER, "33:33:00:00:00:77", "multicast");
        await hear("multicast");
        uplink.send(PEER, macOf(0), "unknown unicast");
        await hear("unknown unicast");
        assert.deepEqual(guest.texts(), []);

        const set = armNicSet(host.route, nics, clockUs);
        set.start();
        uplink.send(PEER, BROADCAST, "broadcast again");
        uplink.send(PEER, macOf(0), "to the guest");
        await hear("broadcast again");
        assert.deepEqual(guest.texts(), ["broadcast again", "to the guest"]);

        set.stop();
        uplink.send(PEER, BROADCAST, "after the stop");
        await hear("after the stop");
        assert.deepEqual(guest.texts(), []);
        for (const end of [guest, bystander, uplink]) end.close();
      }),
    ),
);

test("refuses a bridge that took the guest's address from its tap", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "address", macOf(0), "master", "br0");
      const [refusal] = preflightNics(host.route, [tapNic(0)]);
      assert.equal(refusal?.reason, "MAC_OF_BRIDGE");
      assert.equal(refusal?.field, "nics[0].mac_address");
    }),
  ),
);

test("refuses what cannot work, and changes nothing", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      addBridge("br1");
      run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      run("ip", "tuntap", "add", "tap3", "mode", "tap");
      run("ip", "link", "set", "tap3", "master", "br1");
      const before = deviceNames();
      const nics = [
        tapNic(0),
        tapNic(1, { bridge: "none0" }),
        tapNic(2, { bridge: "v0" }),
        tapNic(3),
        tapNic(4, { deviceName: "v1" }),
      ];
      assert.deepEqual(
        preflightNics(host.route, nics).map(({ reason, field }) => `${reason} ${field}`),
        [
          "BRIDGE_MISSING nics[1].tap_on_bridge.bridge",
          "NOT_A_BRIDGE nics[2].tap_on_bridge.bridge",
          "PORT_OF_ANOTHER nics[3].tap_on_bridge.device_name",
          "NOT_A_TAP nics[4].tap_on_bridge.device_name",
        ],
      );
      assert.throws(
        () => prepareNics(host, nics),
        (thrown) => thrown instanceof SwitchoverError && thrown.code === "FAILED_PRECONDITION",
      );
      assert.equal(deviceNames(), before);
    }),
  ),
);

test("a preparation that fails half way leaves the host as it was", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "master", "br0");
      const before = [deviceNames(), portOf("tap0")];
      const factory = {
        create(creation: Parameters<typeof host.factory.create>[0]): void {
          if (creation.deviceName === "tap2") {
            throw new SwitchoverError("UNAVAILABLE", "No more taps.", { reason: "ENOSPC" });
          }
          host.factory.create(creation);
        },
      };
      assert.throws(() => prepareNics({ route: host.route, factory }, tapNics(3)), { reason: "ENOSPC" });
      assert.deepEqual([deviceNames(), portOf("tap0")], before);
    }),
  ),
);

test("releasing deletes what was created, if asked, and gives back what was found", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "tuntap", "add", "tap1", "mode", "tap");
      run("ip", "tuntap", "add", "tap2", "mode", "tap");
      run("ip", "link", "set", "tap2", "master", "br0");
      const nics = tapNics(3);
      const prepared = prepareNics(host, nics);
      const ownerships = new Map(prepared.map(({ nicId, ownership }) => [nicId, ownership]));

      const released = releaseNics(host.route, nics, ownerships, "delete");

      assert.deepEqual(released, [{ nicId: "net0" }, { nicId: "net1" }, { nicId: "net2" }]);
      assert.equal(deviceNames(), "br0 lo tap1 tap2");
      assert.equal(portOf("tap1"), "tap1 - up none learning=- flood=- mcast=- bcast=-");
      assert.equal(portOf("tap2"), "tap2 br0 up none learning=on flood=on mcast=on bcast=on");
      assert.deepEqual(releaseNics(host.route, [tapNic(0)], ownerships, "delete"), [{ nicId: "net0" }]);
    }),
  ),
);

test(
  "releasing deletes our tap also after its bridge vanished, and never a stranger of its name",
  options,
  () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        const nics = tapNics(2);
        const ownerships = new Map(prepareNics(host, nics).map(({ nicId, ownership }) => [nicId, ownership]));
        run("ip", "link", "del", "tap1");
        run("ip", "tuntap", "add", "tap1", "mode", "tap");
        run("ip", "link", "del", "br0");
        assert.deepEqual(releaseNics(host.route, nics, ownerships, "delete"), [
          { nicId: "net0" },
          { nicId: "net1" },
        ]);
        assert.equal(deviceNames(), "lo tap1");
      }),
    ),
);
