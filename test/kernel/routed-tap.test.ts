import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, outcomesOf, routedNic } from "./guest-nics.ts";
import { deviceNames, eventually, routedOf } from "./host-state.ts";
import { run, withAnotherNamespace } from "./in-network-namespace.ts";
import { textsOf } from "./ip-frame.ts";
import { addWorld, fromGuest, inRoutingHost } from "./routing-host.ts";
import { TapEnd } from "./tap-end.ts";

const STOPPED = "tap0 - up none";
/** In the order of `routedOf`; fe80::/64 comes with the address. */
const RUNNING = `tap0 - up none
169.254.0.1/32 link
fe80::1/64 link
192.0.2.7 static
2001:db8::7 static 1
fe80::/64 kernel 256`;
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a routed tap whose guest runs", options, () => {
  it("has its addresses and routes at once, and none of them when the guest stops", () =>
    inRoutingHost((host) => {
      const nics = [routedNic(0)];
      prepareNics(host, nics);
      const guest = new TapEnd("tap0");
      const set = armNicSet(host.route, nics, clockUs);
      for (let round = 0; round < 3; round++) {
        for (let repeat = 0; repeat < 2; repeat++) assert.equal(outcomesOf(set.start().nics), "net0 started");
        assert.equal(routedOf("tap0"), RUNNING);
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone");
        assert.equal(routedOf("tap0"), STOPPED);
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "quarantined" }]);
      }
      guest.close();
    }));

  it("is reached from the world, and reaches it, in both families", () =>
    inRoutingHost(async (host) => {
      const nics = [routedNic(0)];
      prepareNics(host, nics);
      const world = addWorld();
      const guest = new TapEnd("tap0");
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "neigh", "replace", "192.0.2.7", "lladdr", macOf(0), "dev", "tap0");
      run("ip", "neigh", "replace", "2001:db8::7", "lladdr", macOf(0), "dev", "tap0");
      world.sendToGuest("hello");
      const heard: string[] = [];
      await eventually("both packets", () => {
        heard.push(...textsOf(guest.frames()));
        return heard.length >= 2 ? true : undefined;
      });
      assert.deepEqual(heard.sort(), ["hello by IPv4", "hello by IPv6"]);
      guest.sendFrame(fromGuest("answer"));
      await eventually("the answer", () => (world.texts().includes("answer") ? true : undefined));
      set.stop();
      world.sendToGuest("late");
      await eventually("the host's answer", () => (world.unreachable() ? true : undefined));
      assert.deepEqual(textsOf(guest.frames()), []);
      for (const end of [guest, world]) end.close();
    }));

  it("is down when it stops where nothing but that tells that it stands", () =>
    inRoutingHost((host) => {
      const nics = [routedNic(0, { hostAddresses: [], routes: [] }), routedNic(1, { hostAddresses: [] })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      for (let round = 0; round < 2; round++) {
        assert.deepEqual(verifyNics(host.route, nics), Array(2).fill({ registration: "quarantined" }));
        set.start();
        assert.equal(routedOf("tap0"), "tap0 - up none");
        assert.equal(routedOf("tap1"), "tap1 - up none\n192.0.2.8 static\n2001:db8::8 static 1");
        assert.deepEqual(verifyNics(host.route, nics), Array(2).fill({ registration: "registered" }));
        assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone, net1 removed");
        assert.equal(routedOf("tap0"), "tap0 - down none");
        assert.equal(routedOf("tap1"), "tap1 - down none");
      }
    }));

  it("has the whole network of a wider prefix and of a host address", () =>
    inRoutingHost((host) => {
      const nics = [
        routedNic(0, { hostAddresses: ["10.1.0.1/24", "fd00::1/64"], routes: ["10.2.0.0/16", "fd01::/48"] }),
      ];
      prepareNics(host, nics);
      const guest = new TapEnd("tap0");
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(outcomesOf(set.start().nics), "net0 started");
      assert.equal(
        routedOf("tap0"),
        [
          "tap0 - up none",
          "10.1.0.1/24 global",
          "fd00::1/64 global",
          "10.1.0.0/24 kernel",
          "10.2.0.0/16 static",
          "fd00::/64 kernel 256",
          "fd01::/48 static 1",
        ].join("\n"),
      );
      assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(routedOf("tap0"), STOPPED);
      guest.close();
    }));

  it("is registered where one address of its prefix leads elsewhere", () =>
    inRoutingHost((host) => {
      const world = addWorld();
      run("ip", "route", "add", "10.2.128.0/32", "dev", "up0");
      const nics = [routedNic(0, { routes: ["10.2.0.0/16"] })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(outcomesOf(set.start().nics), "net0 started");
      assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      world.close();
    }));

  it("is started where a rule sends all look-ups to another table, which hides its routes", () =>
    inRoutingHost((host) => {
      const world = addWorld();
      run("ip", "route", "add", "default", "dev", "up0", "table", "100");
      run("ip", "rule", "add", "table", "100", "priority", "50");
      const nics = [routedNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(outcomesOf(set.start().nics), "net0 started");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      world.close();
    }));
});

describe("routes of others", options, () => {
  for (const [whose, metric] of [
    ["a daemon that gives them a metric (FRR, BIRD 2)", "20"],
    ["a daemon that gives them none (BIRD 1)", "0"],
  ] as const) {
    it(`to the guest's present host are no obstacle: those of ${whose}`, () =>
      inRoutingHost((host) => {
        const world = addWorld();
        const nics = [routedNic(0)];
        for (const prefix of ["192.0.2.7/32", "2001:db8::7/128"]) {
          const via = prefix.includes(":") ? "2001:db8:7::2" : "10.7.0.2";
          run("ip", "route", "add", prefix, "via", via, "dev", "up0", "proto", "bgp", "metric", metric);
        }
        assert.deepEqual(preflightNics(host.route, nics), []);
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(outcomesOf(set.start().nics), "net0 started");
        assert.match(run("ip", "route", "get", "192.0.2.7"), / dev tap0 /);
        assert.match(run("ip", "route", "get", "2001:db8::7"), / dev tap0 /);
        set.stop();
        world.close();
      }));
  }

  it("that took the prefix since are left when the guest stops", () =>
    inRoutingHost((host) => {
      const world = addWorld();
      const nics = [routedNic(0, { hostAddresses: [], routes: ["192.0.2.7/32"] })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "route", "replace", "192.0.2.7/32", "via", "10.7.0.2", "dev", "up0", "proto", "bgp");
      const [verified] = verifyNics(host.route, nics);
      assert.equal(verified?.registration === "drifted" && verified.problems[0]?.reason, "ROUTED_ELSEWHERE");
      assert.equal(outcomesOf(set.stop().nics), "net0 elsewhere");
      assert.match(run("ip", "route", "show", "192.0.2.7"), /via 10.7.0.2 dev up0 proto bgp/);
      world.close();
    }));

  it("by the tap itself, made by others, end with it", () =>
    inRoutingHost((host) => {
      const nics = [routedNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "route", "add", "192.0.2.7/32", "dev", "tap0", "metric", "50");
      run("ip", "route", "add", "2001:db8::7/128", "dev", "tap0", "metric", "50");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(routedOf("tap0"), STOPPED);
    }));

  it("of the guest's other instance on this host are moved, and not taken away by that one's stop", () =>
    inRoutingHost((host) => {
      const source = [routedNic(0)];
      const destination = [{ ...routedNic(0), deviceName: "tap1" }];
      prepareNics(host, source);
      prepareNics(host, destination);
      const [from, to] = [source, destination].map((nics) => armNicSet(host.route, nics, clockUs));
      from?.start();
      assert.equal(outcomesOf(to?.start().nics ?? []), "net0 started");
      assert.equal(routedOf("tap1"), RUNNING.replace("tap0", "tap1"));
      assert.equal(outcomesOf(from?.stop().nics ?? []), "net0 removed");
      assert.equal(routedOf("tap0"), STOPPED);
      assert.equal(routedOf("tap1"), RUNNING.replace("tap0", "tap1"));
      assert.match(run("ip", "route", "get", "192.0.2.7"), / dev tap1 /);
    }));

  it("that are the host's own network, or its own address, are never taken over", () =>
    inRoutingHost((host) => {
      const world = addWorld();
      for (const prefix of ["10.7.0.0/24", "10.7.0.1/32", "2001:db8:7::/64", "2001:db8:7::1/128"]) {
        assert.throws(() => prepareNics(host, [routedNic(0, { routes: ["192.0.2.7/32", prefix] })]), {
          reason: "PREFIX_OF_HOST",
          field: "nics[0].routed_tap.routes[1]",
        });
        assert.equal(deviceNames(), "lo up0");
      }
      const nics = [routedNic(0, { routes: ["10.9.0.1/32"] })];
      prepareNics(host, nics);
      run("ip", "addr", "add", "10.9.0.1/32", "dev", "up0");
      const set = armNicSet(host.route, nics, clockUs);
      const started = set.start();
      assert.equal(outcomesOf(started.nics), "net0 failed PREFIX_OF_HOST");
      assert.equal(routedOf("tap0"), STOPPED);
      world.close();
    }));
});

describe("a routed tap that is not where it was", options, () => {
  it("is stopped when it vanished or left its namespace", () =>
    inRoutingHost((host) =>
      withAnotherNamespace((elsewhere) => {
        const nics = [routedNic(0), routedNic(1), routedNic(2)];
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");
        run("ip", "link", "del", "tap0");
        run("ip", "link", "set", "tap1", "netns", elsewhere);
        assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone, net1 alreadyGone, net2 removed");
        assert.equal(routedOf("tap2"), "tap2 - up none");
      }),
    ));

  it("is found when it was created again since arming", () =>
    inRoutingHost((host) => {
      const nics = [routedNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      run("ip", "link", "del", "tap0");
      prepareNics(host, nics);
      assert.equal(set.start().result, "started");
      assert.equal(routedOf("tap0"), RUNNING);
      run("ip", "link", "del", "tap0");
      prepareNics(host, nics);
      run("ip", "link", "set", "tap0", "up");
      run("ip", "route", "add", "192.0.2.7/32", "dev", "tap0");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(routedOf("tap0"), STOPPED);
    }));
});
