import assert from "node:assert/strict";
import { test } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, outcomesOf, tapNic, tapNics, withHost } from "./guest-nics.ts";
import { eventually, fdbOf, portOf } from "./host-state.ts";
import { inNetworkNamespace, run, withAnotherNamespace } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const PEER = "02:00:00:00:00:99";
const options = { skip: skipWithout("root"), timeout: 30_000 };

test("registers an address that the bridge has learned on its uplink (trap 1)", options, () =>
  inNetworkNamespace(() =>
    withHost(async (host) => {
      addBridge("br0");
      const uplink = addUplink("up0", "br0");
      const nics = [tapNic(0)];
      prepareNics(host, nics);
      uplink.send(macOf(0), BROADCAST, "from the source");
      await eventually("learning", () => (fdbOf(macOf(0)) === "up0 br0 dynamic" ? true : undefined));

      const report = armNicSet(host.route, nics, clockUs).start();

      assert.equal(report.result, "started");
      assert.equal(fdbOf(macOf(0)), "tap0 br0 static sticky");
      uplink.close();
    }),
  ),
);

for (const [sticky, holder] of [
  ["sticky", "tap0 br0 static sticky"],
  ["plain", "up0 br0 static"],
] as const) {
  test(`a late frame leaves a ${sticky} registration on "${holder}" (trap 2)`, options, () =>
    inNetworkNamespace(() =>
      withHost(async (host) => {
        addBridge("br0");
        const uplink = addUplink("up0", "br0");
        const nics = [tapNic(0, { sticky })];
        prepareNics(host, nics);
        const guest = new TapEnd("tap0");
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");

        uplink.send(macOf(0), BROADCAST, "late");
        await eventually("the late frame", () => (guest.texts().includes("late") ? true : undefined));

        assert.equal(fdbOf(macOf(0)), holder);
        const kept = sticky === "sticky";
        assert.equal(verifyNics(host.route, nics)[0]?.registration, kept ? "registered" : "drifted");
        assert.equal(outcomesOf(set.stop().nics), kept ? "net0 removed" : "net0 elsewhere");
        assert.equal(fdbOf(macOf(0)), kept ? "" : "up0 br0 static");
        guest.close();
        uplink.close();
      }),
    ),
  );
}

test("removal succeeds when the entry is gone, and says so (trap 3)", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = [tapNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("bridge", "fdb", "del", macOf(0), "dev", "tap0", "master");
      const stopped = set.stop();
      assert.equal(stopped.result, "stopped");
      assert.equal(outcomesOf(stopped.nics), "net0 alreadyGone");
    }),
  ),
);

test("removal succeeds when another port has the entry, and leaves it there (trap 3)", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = [tapNic(0)];
      prepareNics(host, nics);
      const uplink = addUplink("up0", "br0");
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("bridge", "fdb", "replace", macOf(0), "dev", "up0", "master", "static", "sticky");
      assert.equal(outcomesOf(set.stop().nics), "net0 elsewhere");
      assert.equal(fdbOf(macOf(0)), "up0 br0 static sticky");
      uplink.close();
    }),
  ),
);

test("removal succeeds when the device vanished, left its bridge or its namespace (trap 4)", options, () =>
  inNetworkNamespace(() =>
    withAnotherNamespace((elsewhere) =>
      withHost((host) => {
        addBridge("br0");
        const nics = tapNics(4);
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");
        run("ip", "link", "del", "tap0");
        run("ip", "link", "set", "tap1", "nomaster");
        run("ip", "link", "set", "tap2", "netns", elsewhere);
        const stopped = set.stop();
        assert.equal(stopped.result, "stopped");
        assert.equal(
          outcomesOf(stopped.nics),
          "net0 alreadyGone, net1 alreadyGone, net2 alreadyGone, net3 removed",
        );
        for (let index = 0; index < 4; index++) assert.equal(fdbOf(macOf(index)), "");
      }),
    ),
  ),
);

test("removal succeeds when the bridge vanished", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(2);
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "del", "br0");
      assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone, net1 alreadyGone");
    }),
  ),
);

test("a port that is down keeps its entry, and is found to have drifted (trap 4)", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = [tapNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "set", "tap0", "down");
      assert.equal(fdbOf(macOf(0)), "tap0 br0 static sticky");
      const [verified] = verifyNics(host.route, nics);
      assert.equal(verified?.registration, "drifted");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
    }),
  ),
);

test("start follows a device that was created again since arming, and stop does too", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(2);
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      run("ip", "link", "del", "tap1");
      prepareNics(host, nics);

      assert.equal(set.start().result, "started");
      assert.equal(fdbOf(macOf(1)), "tap1 br0 static sticky");

      run("ip", "link", "del", "tap1");
      prepareNics(host, [tapNic(1)]);
      run("bridge", "fdb", "replace", macOf(1), "dev", "tap1", "master", "static", "sticky");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed, net1 removed");
      assert.equal(fdbOf(macOf(1)), "");
    }),
  ),
);

test("start and stop may be repeated, with the same end", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(2);
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      const quarantined = "tap0 br0 up none learning=off flood=off mcast=off bcast=off";
      const running = "tap0 br0 up none learning=off flood=off mcast=on bcast=on";
      for (let round = 0; round < 3; round++) {
        for (let repeat = 0; repeat < 2; repeat++) assert.equal(set.start().result, "started");
        assert.equal(portOf("tap0"), running);
        assert.equal(fdbOf(macOf(0)), "tap0 br0 static sticky");
        assert.deepEqual(verifyNics(host.route, nics), Array(2).fill({ registration: "registered" }));
        for (let repeat = 0; repeat < 2; repeat++) assert.equal(set.stop().result, "stopped");
        assert.equal(portOf("tap0"), quarantined);
        assert.equal(fdbOf(macOf(0)), "");
        assert.deepEqual(verifyNics(host.route, nics), Array(2).fill({ registration: "quarantined" }));
      }
    }),
  ),
);

test("a kernel-managed NIC gets no entry, learns while it runs, and forgets when it stops", options, () =>
  inNetworkNamespace(() =>
    withHost(async (host) => {
      addBridge("br0");
      const nics = [tapNic(0, { macTableManager: "kernel" })];
      prepareNics(host, nics);
      const guest = new TapEnd("tap0");
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(set.start().result, "started");
      assert.equal(fdbOf(macOf(0)), "");
      assert.equal(portOf("tap0"), "tap0 br0 up none learning=on flood=on mcast=on bcast=on");

      guest.send(macOf(0), PEER, "hello");
      await eventually("learning", () => (fdbOf(macOf(0)) === "tap0 br0 dynamic" ? true : undefined));
      assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);

      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(fdbOf(macOf(0)), "");
      guest.send(macOf(0), PEER, "late");
      guest.send(PEER, macOf(0), "more");
      assert.equal(fdbOf(macOf(0)), "");
      guest.close();
    }),
  ),
);
