import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { type HostDevices, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { AsideRoute } from "../../agent/netlink/aside-route.ts";
import { encodeBatch, type RouteBatch } from "../../agent/netlink/route-batch.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import { skipWithout } from "../resource.ts";
import { SILENT_LOG } from "./agent-bench.ts";
import { clockUs, macOf, macvtapNic, outcomesOf, ownershipsOf, withHost } from "./guest-nics.ts";
import { eventually, linkOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, openMacvtap, type TapEnd } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 60_000 };
const STRANGER = "02:00:00:00:00:aa";
const EVERYONE = "ff:ff:ff:ff:ff:ff";
const A_GROUP = "01:00:5e:00:00:fb";
const SHARED_MODES = ["private", "vepa", "bridge"] as const;

/** eth0 on a switch, and the end of another wire of that. */
function onWire(body: (host: HostDevices, wire: TapEnd) => void | Promise<void>): () => Promise<void> {
  return () =>
    inNetworkNamespace(() =>
      withHost(async (host) => {
        addBridge("switch0");
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0");
        for (const name of ["eth0", "far0"]) run("ip", "link", "set", name, "addrgenmode", "none");
        run("ip", "link", "set", "far0", "master", "switch0", "up");
        run("ip", "link", "set", "eth0", "up");
        const wire = addUplink("wire0", "switch0");
        try {
          await eventually("the wire", () => (linkOf("eth0").startsWith("eth0 up UP") ? true : undefined));
          await body(host, wire);
        } finally {
          wire.close();
        }
      }),
    );
}

/** Puts off what it can for as long as the test wants. */
function puttingOff(route: RoutePort): RoutePort & { readonly later: RouteBatch[] } {
  const later: RouteBatch[] = [];
  return {
    later,
    execute: (batch) => route.execute(batch),
    executeSoon: (batch) => void later.push(batch),
    ready: (batch) => route.ready(batch),
    dump: (dump) => route.dump(dump),
  };
}

function stateOf(mode: MacvtapNic["mode"] | "source", state: string, index = 0): string {
  return `mv${index} on eth0 ${mode === "passthrough" ? "passthru" : mode} ${state} ${macOf(index)} none`;
}

describe("a macvtap that is stopped in parts", options, () => {
  for (const mode of SHARED_MODES) {
    it(
      `in ${mode} mode gets no frame of the wire or of a neighbour after the first part, still up, and all of them when it starts again`,
      onWire(async (host, wire) => {
        const nics = [macvtapNic(0, { mode })];
        prepareNics(host, nics);
        run("ip", "link", "add", "mv1", "link", "eth0", "address", macOf(1), "type", "macvtap", "mode", mode);
        run("ip", "link", "set", "mv1", "addrgenmode", "none", "up");
        const route = puttingOff(host.route);
        const set = armNicSet(route, nics, clockUs);
        const [guest, neighbour] = [openMacvtap("mv0"), openMacvtap("mv1")];
        const sent: string[] = [];
        /** The neighbour has heard the last frame of the wire. */
        const sendAll = async (text: string): Promise<void> => {
          for (const to of [macOf(0), EVERYONE, A_GROUP]) {
            wire.send(STRANGER, to, `${text} wire ${to}`);
            neighbour.send(macOf(1), to, `${text} neighbour ${to}`);
          }
          wire.send(STRANGER, EVERYONE, `${text} last`);
          await eventually("the last frame", () => {
            sent.push(...neighbour.texts());
            return sent.includes(`${text} last`) ? true : undefined;
          });
        };
        try {
          assert.equal(set.start().result, "started");
          guest.texts();
          await sendAll("running");
          const heard = await eventually("frames for the guest", () => {
            const texts = guest.texts();
            return texts.includes("running last") ? texts : undefined;
          });
          assert.ok(heard.includes(`running wire ${macOf(0)}`));
          assert.equal(heard.includes(`running neighbour ${macOf(0)}`), mode === "bridge");

          assert.equal(outcomesOf(set.stop().nics), "net0 removed");
          assert.equal(linkOf("mv0"), stateOf("source", "up UP"));
          guest.texts();
          await sendAll("stopped");
          assert.deepEqual(guest.texts(), []);

          for (const batch of route.later) route.execute(batch);
          assert.equal(linkOf("mv0"), stateOf(mode, "down DOWN"));
          assert.equal(set.start().result, "started");
          await sendAll("again");
          await eventually("frames again", () =>
            guest.texts().includes(`again wire ${macOf(0)}`) ? true : undefined,
          );
        } finally {
          guest.close();
          neighbour.close();
        }
      }),
    );
  }

  it(
    "in passthrough mode has its parent down after the first part, and so no wire",
    onWire((host) => {
      const nics = [macvtapNic(0, { mode: "passthrough" })];
      prepareNics(host, nics);
      const route = puttingOff(host.route);
      const set = armNicSet(route, nics, clockUs);
      assert.equal(set.start().result, "started");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(linkOf("eth0"), `eth0 down DOWN ${macOf(0)} none`);
      assert.equal(linkOf("mv0"), stateOf("passthrough", "up LOWERLAYERDOWN"));
      for (const batch of route.later) route.execute(batch);
      assert.equal(linkOf("mv0"), stateOf("passthrough", "down DOWN"));
    }),
  );

  it(
    "is taken down by the next agent where the one that had begun was killed, and started, prepared and released all the same",
    onWire((host) => {
      run("ip", "link", "add", "mv0", "link", "eth0", "type", "macvtap", "mode", "vepa");
      const nics = [macvtapNic(0, { mode: "vepa" })];
      const prepared = prepareNics(host, nics);
      const cutShort = (): void => {
        const set = armNicSet(puttingOff(host.route), nics, clockUs);
        assert.equal(set.start().result, "started");
        set.stop();
        assert.equal(linkOf("mv0"), stateOf("source", "up UP"));
      };
      cutShort();
      assert.equal(findDrift(host.route, nics, "quarantined").length, 1);
      assert.deepEqual(mendNics(host.route, nics, new Map(), "quarantined"), []);
      assert.deepEqual(mendNics(host.route, nics, new Map(), "registered"), []);
      assert.equal(linkOf("mv0"), stateOf("vepa", "up UP"));
      cutShort();
      assert.deepEqual(mendNics(host.route, nics, new Map(), "registered"), []);
      assert.equal(linkOf("mv0"), stateOf("vepa", "up UP"));
      cutShort();
      prepareNics(host, nics);
      assert.equal(linkOf("mv0"), stateOf("vepa", "down DOWN"));
      cutShort();
      releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
      assert.equal(linkOf("mv0"), stateOf("vepa", "down DOWN"));
    }),
  );
});

describe("a macvtap whose going down is put off to another thread", options, () => {
  function withAside(
    body: (host: HostDevices, warnings: readonly string[]) => Promise<void>,
  ): () => Promise<void> {
    return onWire(async (host) => {
      const warnings: string[] = [];
      const log = { ...SILENT_LOG, warn: (_: object, text: string) => void warnings.push(text) };
      // Nothing hurries the kernel: each takes it long.
      const route = new AsideRoute({ route: host.route, hurry: () => () => {}, log });
      try {
        await body({ ...host, route }, warnings);
      } finally {
        route.close();
      }
    });
  }

  it(
    "keeps the event loop free, and is down in its own mode in the end",
    withAside(async (host) => {
      const nics = [macvtapNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      set.stop();
      await nextTurn();
      assert.equal(linkOf("mv0"), stateOf("source", "up UP"));
      await eventually("the end of the stop", () =>
        linkOf("mv0") === stateOf("bridge", "down DOWN") ? true : undefined,
      );
    }),
  );

  it(
    "is up and stays so when its guest starts again, at whatever instant of the stop",
    withAside(async (host, warnings) => {
      const [nics, other] = [[macvtapNic(0)], [macvtapNic(1)]];
      for (const each of [nics, other]) prepareNics(host, each);
      const [set, otherSet] = [nics, other].map((each) => armNicSet(host.route, each, clockUs));
      assert.equal(set?.start().result, "started");
      for (let turns = 0; turns < 40; turns++) {
        set?.stop();
        for (let turn = 0; turn < turns; turn++) await nextTurn();
        assert.equal(set?.start().result, "started");
        // The thread does one thing after the other: it is done with the first guest once it is with this one.
        otherSet?.start();
        otherSet?.stop();
        await eventually("the other's stop", () =>
          linkOf("mv1") === stateOf("bridge", "down DOWN", 1) ? true : undefined,
        );
        assert.equal(linkOf("mv0"), stateOf("bridge", "up UP"));
      }
      assert.deepEqual(warnings, []);
    }),
  );

  it(
    "is told of where the kernel refuses it, and not where the device is gone",
    withAside(async (host, warnings) => {
      const notThere = 1_000_000;
      host.route.executeSoon?.(
        encodeBatch([{ op: "setLink", ifindex: notThere, change: { state: "down" } }]),
      );
      host.route.executeSoon?.(encodeBatch([{ op: "setMacvtapMode", ifindex: 1, mode: "source" }]));
      await eventually("the warning", () => (warnings.length > 0 ? true : undefined));
      assert.deepEqual(warnings, ["Devices were not taken down: EOPNOTSUPP."]);
    }),
  );
});
