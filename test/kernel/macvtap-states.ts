import assert from "node:assert/strict";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { clockUs, macOf, macvtapNic, outcomesOf } from "./guest-nics.ts";
import { linkOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import type { HostState } from "./revisit.ts";
import { exists, type StatesOfDevice } from "./states-of-device.ts";

const MAC = macOf(0);
const OWN = "02:00:00:00:00:e0";

/** A macvtap on eth0, the end of a pair whose far end is up. */
export function macvtapStates(mode: "bridge" | "passthrough"): StatesOfDevice {
  return (host, elsewhere) => {
    const exclusive = mode === "passthrough";
    const nics: MacvtapNic[] = [macvtapNic(0, { mode })];
    const word = exclusive ? "passthru" : mode;
    const addParent = (): void => {
      run("ip", "link", "add", "eth0", "address", OWN, "type", "veth", "peer", "name", "far0");
      run("ip", "link", "set", "eth0", "addrgenmode", "none");
      run("ip", "link", "set", "far0", "up");
    };
    addParent();
    run("ip", "link", "set", "eth0", "up");
    prepareNics(host, nics);
    const set = armNicSet(host.route, nics, clockUs);

    const parentUp = `eth0 up UP ${exclusive ? MAC : OWN} none`;
    const parentDown = `eth0 down DOWN ${MAC} none`;
    const online = `mv0 on eth0 ${word} up UP ${MAC} none\n${parentUp}`;
    const offline = `mv0 on eth0 ${word} down DOWN ${MAC} none\n${exclusive ? parentDown : parentUp}`;
    let place: "here" | "elsewhere" = "here";
    const quarantine = (): void => {
      if (place === "elsewhere") run("ip", "-n", elsewhere, "link", "del", "mv0");
      place = "here";
      if (exists("rival")) run("ip", "link", "del", "rival");
      if (!exists("eth0")) addParent();
      if (!exclusive) run("ip", "link", "set", "eth0", "up");
      prepareNics(host, nics);
    };
    const start = (): void => assert.equal(outcomesOf(set.start().nics), "net0 started");
    const running = (): void => {
      quarantine();
      start();
    };
    const stop = (outcome: string): void => assert.equal(outcomesOf(set.stop().nics), `net0 ${outcome}`);
    const mend = (kind: "registered" | "quarantined" = "registered"): void =>
      assert.deepEqual(mendNics(host.route, nics, new Map(), kind), []);
    const said = (reason: string): void => {
      assert.equal(findDrift(host.route, nics, "registered")[0]?.problem.reason, reason);
      assert.equal(mendNics(host.route, nics, new Map(), "registered")[0]?.problem.reason, reason);
    };
    const makeAnew = (): void => {
      run("ip", "link", "del", "mv0");
      prepareNics(host, nics);
    };
    const parentOnly = exclusive ? `no mv0\neth0 down DOWN ${OWN} none` : `no mv0\n${parentUp}`;
    const change = (...args: readonly string[]) => void run("ip", "link", "set", ...args);

    const shared: HostState[] = [
      {
        name: "another of its address is up: not started",
        wanted: offline,
        reach: () => {
          quarantine();
          run("ip", "link", "add", "rival", "link", "eth0", "address", MAC, "type", "macvtap");
          change("rival", "up");
          assert.equal(outcomesOf(set.start().nics), "net0 failed MAC_IN_USE");
        },
      },
      {
        name: "another of its address was up and is gone: started",
        wanted: online,
        reach: () => {
          quarantine();
          run("ip", "link", "add", "rival", "link", "eth0", "address", MAC, "type", "macvtap");
          change("rival", "up");
          set.start();
          run("ip", "link", "del", "rival");
          start();
        },
      },
    ];

    return {
      read: () => ["mv0", "eth0"].map((name) => (exists(name) ? linkOf(name) : `no ${name}`)).join("\n"),
      close: () => {},
      states: [
        { name: "quarantined", wanted: offline, reach: quarantine },
        { name: "online", wanted: online, reach: running },
        {
          name: "stopped",
          wanted: offline,
          reach: () => {
            running();
            stop("removed");
          },
        },
        {
          name: "parent lowered, then mended",
          wanted: online,
          reach: () => {
            running();
            change("eth0", "down");
            mend();
          },
        },
        {
          name: "parent lowered, then stopped",
          wanted: offline.replace("eth0 up UP", "eth0 down DOWN"),
          reach: () => {
            running();
            change("eth0", "down");
            stop("removed");
          },
        },
        {
          name: "address changed, then mended",
          wanted: online,
          reach: () => {
            running();
            change("mv0", "address", macOf(7));
            mend();
          },
        },
        {
          name: "taken down, then mended",
          wanted: online,
          reach: () => {
            running();
            change("mv0", "down");
            mend();
          },
        },
        {
          name: "taken up while the guest stands, then mended",
          wanted: offline,
          reach: () => {
            quarantine();
            change("eth0", "up");
            change("mv0", "up");
            mend("quarantined");
          },
        },
        {
          name: "deleted, then stopped",
          wanted: parentOnly,
          reach: () => {
            running();
            run("ip", "link", "del", "mv0");
            stop("alreadyGone");
          },
        },
        {
          name: "deleted and made anew, then started",
          wanted: online,
          reach: () => {
            running();
            makeAnew();
            start();
          },
        },
        {
          name: "deleted and made anew, then stopped",
          wanted: offline,
          reach: () => {
            running();
            makeAnew();
            change("eth0", "up");
            change("mv0", "up");
            stop("removed");
          },
        },
        {
          name: "parent gone, then stopped",
          wanted: "no mv0\nno eth0",
          reach: () => {
            running();
            run("ip", "link", "del", "eth0");
            said("PARENT_MISSING");
            stop("alreadyGone");
          },
        },
        {
          name: "moved to another namespace: said, then stopped",
          wanted: `no mv0\n${exclusive ? parentDown : parentUp}`,
          reach: () => {
            running();
            change("mv0", "netns", elsewhere);
            place = "elsewhere";
            said("DEVICE_MISSING");
            stop("alreadyGone");
          },
        },
        ...(exclusive ? [] : shared),
      ],
    };
  };
}
