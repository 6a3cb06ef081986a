import assert from "node:assert/strict";
import { test } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, outcomesOf, tapNic, tapNics, withHost } from "./guest-nics.ts";
import { fdbOf, portOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

test("one vanished bridge of three leaves no NIC started", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      const nics = [0, 1, 2].map((index) => tapNic(index, { bridge: `br${index}` }));
      for (const { bridge } of nics) addBridge(bridge);
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      run("ip", "link", "del", "br1");

      const report = set.start();

      assert.equal(report.result, "failed");
      assert.equal(outcomesOf(report.nics), "net0 started, net1 failed EOPNOTSUPP, net2 started");
      if (report.result === "failed") {
        assert.equal(report.undo.result, "stopped");
        assert.equal(outcomesOf(report.undo.nics), "net0 removed, net1 alreadyGone, net2 removed");
      }
      for (const index of [0, 1, 2]) assert.equal(fdbOf(macOf(index)), "");
      for (const index of [0, 2]) {
        assert.equal(
          portOf(`tap${index}`),
          `tap${index} br${index} up none learning=off flood=off mcast=off bcast=off`,
        );
      }
      assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone, net1 alreadyGone, net2 alreadyGone");
    }),
  ),
);

test("a start on a bridge that was created again succeeds once the port is on it", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(2);
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      run("ip", "link", "del", "br0");
      addBridge("br0");
      assert.equal(set.start().result, "failed");
      prepareNics(host, nics);
      assert.equal(set.start().result, "started");
      assert.equal(fdbOf(macOf(1)), "tap1 br0 static sticky");
    }),
  ),
);

test("eight NICs start in one send and stop in another, with their times", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(8);
      prepareNics(host, nics);
      let sends = 0;
      const counted: RoutePort = {
        execute(batch) {
          sends += batch.datagrams.length;
          return host.route.execute(batch);
        },
        ready: (batch) => host.route.ready(batch),
        dump: (dump) => host.route.dump(dump),
      };
      const set = armNicSet(counted, nics, clockUs);
      sends = 0;
      const started = set.start();
      assert.equal(sends, 1);
      const stopped = set.stop();
      assert.equal(sends, 2);
      assert.equal(started.result, "started");
      assert.equal(outcomesOf(stopped.nics), nics.map(({ nicId }) => `${nicId} removed`).join(", "));
      for (const { beganAtUs, endedAtUs, durationUs } of [...started.nics, ...stopped.nics]) {
        assert.ok(durationUs > 0);
        assert.equal(durationUs, endedAtUs - beganAtUs);
      }
    }),
  ),
);

test("a stop whose answers are lost is carried out again, and reported as what it was", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const nics = tapNics(2);
      prepareNics(host, nics);
      let losses = 0;
      const lossy: RoutePort = {
        execute(batch) {
          const results = host.route.execute(batch);
          if (losses-- > 0) throw new Error("answers lost");
          return results;
        },
        ready: (batch) => host.route.ready(batch),
        dump: (dump) => host.route.dump(dump),
      };
      const set = armNicSet(lossy, nics, clockUs);
      set.start();
      losses = 1;
      const stopped = set.stop();
      assert.equal(stopped.result, "stopped");
      assert.equal(outcomesOf(stopped.nics), "net0 alreadyGone, net1 alreadyGone");
      assert.equal(fdbOf(macOf(0)), "");
      losses = 100;
      assert.equal(set.stop().result, "failed");
    }),
  ),
);

test("a batch of 200 requests is answered one by one, in order", options, () =>
  inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      const requests = Array.from({ length: 200 }, (_, index) =>
        index % 3 === 0
          ? ({ op: "getLink", name: "br0" } as const)
          : ({ op: "getLink", name: `none${index}` } as const),
      );
      const results = host.route.execute(encodeBatch(requests));
      assert.equal(results.length, 200);
      results.forEach((result, index) => {
        assert.equal(result.ok ? "br0" : result.name, index % 3 === 0 ? "br0" : "ENODEV");
      });
    }),
  ),
);
