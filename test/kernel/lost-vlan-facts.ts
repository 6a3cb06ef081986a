import assert from "node:assert/strict";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, stopNics, verifyNics } from "../../agent/device/nic-set.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import type { Bench } from "./agent-bench.ts";
import type { Fact } from "./fact.ts";
import { clockUs, macOf, outcomesOf, ownershipsOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbText, vlansOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";
import { mended, withWatchedGuest } from "./watching-agent.ts";

const MAC = macOf(0);
/** Of somebody else's, on the guest's port. */
const OTHER_MAC = macOf(9);

/**
 * Of a port that others take out of a VLAN in which a guest is registered by it. The kernel removes what it has learned
 * there, and keeps the static entry: frames for the guest still go to the port, which drops them.
 */
export const LOST_VLAN_FACTS: readonly Fact[] = [
  {
    name: "an entry in a VLAN that its port has left stays, and the kernel refuses to remove it by its address",
    holds: () =>
      onFilteringBridge(() => {
        addPortOfOthers();
        register(9);
        takeOutOf(9);
        assert.equal(fdbText(MAC), entryIn(9));
        assert.throws(() => run("bridge", "fdb", "del", MAC, "dev", "tap0", "vlan", "9", "master"), {
          message: /Invalid argument/,
        });
        assert.equal(fdbText(MAC), entryIn(9));
      }),
  },
  {
    name: "a stop removes the entry in a VLAN that the guest's port has left, and leaves the port out of it",
    holds: () =>
      onFilteringBridge((host) => {
        const nics = [tapNic(0, { vlans: [7, 9, 11] })];
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        set.start();
        takeOutOf(9);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(fdbText(MAC), "");
        assert.equal(vlansOf("tap0"), "7, 11");
        assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone");
        assert.equal(outcomesOf(stopNics(host.route, nics, new Map(), clockUs).nics), "net0 alreadyGone");
      }),
  },
  {
    name: "a stop on a port that has left all of its guest's VLANs leaves nothing of the guest, and others' entries in other VLANs",
    holds: () =>
      onFilteringBridge((host) => {
        addPortOfOthers();
        run("bridge", "vlan", "add", "dev", "tap0", "vid", "5");
        run("bridge", "fdb", "add", OTHER_MAC, "dev", "tap0", "vlan", "5", "master", "static");
        const nics = [tapNic(0, { vlans: [7, 9] })];
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        set.start();
        for (const vlan of [7, 9]) takeOutOf(vlan);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(fdbText(MAC, OTHER_MAC), `${OTHER_MAC} dev tap0 vlan 5 master br0 static`);
      }),
  },
  {
    name: "an agent that comes back to a port that has left a VLAN deregisters its guest there too",
    holds: () =>
      onFilteringBridge((host) => {
        addPortOfOthers();
        const nics = [tapNic(0, { vlans: [7, 9] })];
        prepareNics(host, nics);
        armNicSet(host.route, nics, clockUs).start();
        takeOutOf(9);
        assert.equal(verifyNics(host.route, nics)[0]?.registration, "drifted");
        assert.equal(outcomesOf(armNicSet(host.route, nics, clockUs).stop().nics), "net0 removed");
        assert.equal(fdbText(MAC), "");
      }),
  },
  {
    name: "a release leaves no entry on somebody else's port in a VLAN that it has left",
    holds: () =>
      onFilteringBridge((host) => {
        addPortOfOthers();
        const nics = [tapNic(0, { vlans: [7, 9] })];
        const ownerships = ownershipsOf(prepareNics(host, nics));
        armNicSet(host.route, nics, clockUs).start();
        takeOutOf(9);
        assert.deepEqual(releaseNics(host.route, nics, ownerships, "delete"), [{ nicId: "net0" }]);
        assert.equal(fdbText(MAC), "");
        assert.equal(vlansOf("tap0"), "7");
      }),
  },
  {
    name: "a running guest is said to have lost a VLAN on somebody else's port, and is registered in it again with the port",
    holds: () =>
      withGuestOnPortOfOthers(async (bench) => {
        takeOutOf(9, "web0");
        await eventually("registrationDrifted", () => (driftsOf(bench).length > 0 ? true : undefined));
        assert.deepEqual(driftsOf(bench).slice(0, 1), ["VLAN_NOT_ON_PORT"]);
        run("bridge", "vlan", "add", "dev", "web0", "vid", "9");
        await mended(bench, 1);
        assert.equal(fdbText(MAC).split("\n").length, 2);
      }),
  },
  {
    name: "a guest that stops on somebody else's port which has left a VLAN is deregistered, and says so",
    holds: () =>
      withGuestOnPortOfOthers(async (bench) => {
        takeOutOf(9, "web0");
        await eventually("registrationDrifted", () => (driftsOf(bench).length > 0 ? true : undefined));
        bench.vmms.get("/run/a1")?.suffers({ kind: "stop" }, "paused");
        assert.equal(fdbText(MAC), "");
        const { instances } = await bench.agent.getGuest({ guestId: "web" });
        assert.equal(instances[0]?.registration, Registration.QUARANTINED);
      }),
  },
];

/** Somebody else's tap in VLANs 7 and 9, and in no other. */
function addPortOfOthers(name = "tap0"): void {
  run("ip", "tuntap", "add", name, "mode", "tap");
  run("ip", "link", "set", name, "master", "br0");
  run("ip", "link", "set", name, "up");
  takeOutOf(1, name);
  for (const vlan of ["7", "9"]) run("bridge", "vlan", "add", "dev", name, "vid", vlan);
}

function takeOutOf(vlan: number, name = "tap0"): void {
  run("bridge", "vlan", "del", "dev", name, "vid", String(vlan));
}

function register(vlan: number): void {
  run("bridge", "fdb", "replace", MAC, "dev", "tap0", "vlan", String(vlan), "master", "static", "sticky");
}

function entryIn(vlan: number): string {
  return `${MAC} dev tap0 vlan ${vlan} sticky master br0 static`;
}

function driftsOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) => (event?.$case === "registrationDrifted" ? [event.value.reason] : []));
}

function withGuestOnPortOfOthers(body: (bench: Bench) => Promise<void>): Promise<void> {
  return withWatchedGuest({ tap: { vlans: [7, 9] } }, body, () => {
    run("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1");
    addPortOfOthers("web0");
  });
}

function onFilteringBridge(body: Parameters<typeof withHost>[0]): Promise<void> {
  return inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0", "vlan_filtering", "1");
      return body(host);
    }),
  );
}
