import assert from "node:assert/strict";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { clockUs, macOf, outcomesOf, tapNic } from "./guest-nics.ts";
import { eventually, fdbOf, portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { exists, type StatesOfDevice } from "./states-of-device.ts";
import { addBridge, addUplink } from "./tap-end.ts";

const MAC = macOf(0);
const BROADCAST = "ff:ff:ff:ff:ff:ff";
const OWNERSHIPS = new Map([["net0", { device: "created", port: "attached" } as const]]);

function port(bridge: string, learning: "on" | "off", flood: "on" | "off", group: "on" | "off"): string {
  return `tap0 ${bridge} up none learning=${learning} flood=${flood} mcast=${group} bcast=${group}`;
}

const QUARANTINED = port("br0", "off", "off", "off");
const OFF_ITS_BRIDGE = "tap0 - up none learning=- flood=- mcast=- bcast=-";

/** A tap on br0, whose uplink hears the guest's address from other hosts, and br1 beside it. */
export function tapStates(macTableManager: TapOnBridgeNic["macTableManager"]): StatesOfDevice {
  return (host, elsewhere) => {
    const managed = macTableManager === "switchover";
    const nics = [tapNic(0, { macTableManager })];
    addBridge("br0");
    addBridge("br1");
    const uplink = addUplink("up0", "br0");
    prepareNics(host, nics);
    const set = armNicSet(host.route, nics, clockUs);
    const registered = managed
      ? [port("br0", "off", "off", "on"), "tap0 br0 static sticky"].join("\n")
      : port("br0", "on", "on", "on");

    let place: "br0" | "br1" | "elsewhere" = "br0";
    const quarantine = (): void => {
      if (place === "elsewhere") run("ip", "-n", elsewhere, "link", "del", "tap0");
      if (place === "br1") run("ip", "link", "set", "tap0", "nomaster");
      place = "br0";
      if (!exists("br0")) addBridge("br0");
      run("ip", "link", "set", "up0", "master", "br0");
      if (fdbOf(MAC).startsWith("up0")) run("bridge", "fdb", "del", MAC, "dev", "up0", "master");
      prepareNics(host, nics);
    };
    const start = (): void => assert.equal(outcomesOf(set.start().nics), "net0 started");
    const running = (): void => {
      quarantine();
      start();
    };
    const stop = (outcome: string): void => assert.equal(outcomesOf(set.stop().nics), `net0 ${outcome}`);
    const mend = (kind: "registered" | "quarantined" = "registered"): void =>
      assert.deepEqual(mendNics(host.route, nics, OWNERSHIPS, kind), []);
    /** Nothing is done about it: it is said. */
    const said = (reason: string): void => {
      assert.equal(findDrift(host.route, nics, "registered")[0]?.problem.reason, reason);
      assert.equal(mendNics(host.route, nics, new Map(), "registered")[0]?.problem.reason, reason);
    };
    const learnOnUplink = async (): Promise<void> => {
      uplink.send(MAC, BROADCAST, "from the source");
      await eventually("learning", () => (fdbOf(MAC) === "up0 br0 dynamic" ? true : undefined));
    };
    const makeAnew = (): void => {
      run("ip", "link", "del", "tap0");
      prepareNics(host, nics);
    };
    const entryOnTap = ["bridge", "fdb", "replace", MAC, "dev", "tap0", "master", "static"] as const;
    const theft = ["bridge", "fdb", "replace", MAC, "dev", "up0", "master", "static"] as const;
    const removed = managed ? "removed" : "alreadyGone";
    const missing = "no tap0";

    return {
      read: () => [exists("tap0") ? portOf("tap0") : missing, fdbOf(MAC)].filter(Boolean).join("\n"),
      close: () => uplink.close(),
      states: [
        { name: "quarantined", wanted: QUARANTINED, reach: quarantine },
        { name: "registered", wanted: registered, reach: running },
        {
          name: "stopped",
          wanted: QUARANTINED,
          reach: () => {
            running();
            stop(removed);
          },
        },
        {
          name: "learned on the uplink, then registered",
          wanted: managed ? registered : `${registered}\nup0 br0 dynamic`,
          reach: async () => {
            quarantine();
            await learnOnUplink();
            start();
          },
        },
        {
          name: "learned on the uplink while the guest stands",
          wanted: `${QUARANTINED}\nup0 br0 dynamic`,
          reach: async () => {
            running();
            stop(removed);
            await learnOnUplink();
          },
        },
        {
          name: "entry stolen, then mended",
          wanted: managed ? registered : `${registered}\nup0 br0 static`,
          reach: () => {
            running();
            run(...theft);
            mend();
          },
        },
        {
          name: "entry stolen, then stopped",
          wanted: `${QUARANTINED}\nup0 br0 static`,
          reach: () => {
            running();
            run(...theft);
            stop("elsewhere");
          },
        },
        {
          name: "flushed, then mended",
          wanted: registered,
          reach: () => {
            running();
            run("bridge", "fdb", "flush", "dev", "br0");
            mend();
          },
        },
        {
          name: "entry of another kind, then mended",
          wanted: registered,
          reach: () => {
            running();
            run(...entryOnTap);
            mend();
          },
        },
        {
          name: "registered by others while the guest stands, then mended",
          wanted: QUARANTINED,
          reach: () => {
            quarantine();
            run(...entryOnTap);
            mend("quarantined");
          },
        },
        {
          name: "port down, then mended",
          wanted: registered,
          reach: () => {
            running();
            run("ip", "link", "set", "tap0", "down");
            mend();
          },
        },
        {
          name: "off its bridge, then mended",
          wanted: registered,
          reach: () => {
            running();
            run("ip", "link", "set", "tap0", "nomaster");
            mend();
          },
        },
        {
          name: "off its bridge, then stopped",
          wanted: OFF_ITS_BRIDGE,
          reach: () => {
            running();
            run("ip", "link", "set", "tap0", "nomaster");
            stop("alreadyGone");
          },
        },
        {
          name: "deleted, then stopped",
          wanted: missing,
          reach: () => {
            running();
            run("ip", "link", "del", "tap0");
            stop("alreadyGone");
          },
        },
        {
          name: "deleted and made anew, then started",
          wanted: registered,
          reach: () => {
            running();
            makeAnew();
            start();
          },
        },
        {
          name: "deleted and made anew, then stopped",
          wanted: QUARANTINED,
          reach: () => {
            running();
            makeAnew();
            run(...entryOnTap);
            stop("removed");
          },
        },
        {
          name: "bridge made anew, then mended",
          wanted: registered,
          reach: () => {
            running();
            run("ip", "link", "del", "br0");
            addBridge("br0");
            mend();
          },
        },
        {
          name: "bridge gone, then stopped",
          wanted: OFF_ITS_BRIDGE,
          reach: () => {
            running();
            run("ip", "link", "del", "br0");
            stop("alreadyGone");
          },
        },
        {
          name: "moved to another bridge: said, then stopped",
          wanted: port("br1", "off", "off", "off"),
          reach: () => {
            running();
            run("ip", "link", "set", "tap0", "master", "br1");
            place = "br1";
            said("NOT_A_PORT");
            stop("alreadyGone");
          },
        },
        {
          name: "moved to another namespace: said, then stopped",
          wanted: missing,
          reach: () => {
            running();
            run("ip", "link", "set", "tap0", "netns", elsewhere);
            place = "elsewhere";
            said("DEVICE_MISSING");
            stop("alreadyGone");
          },
        },
      ],
    };
  };
}
