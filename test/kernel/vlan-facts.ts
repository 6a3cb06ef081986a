import assert from "node:assert/strict";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { MulticastGroup } from "../../agent/netlink/multicast.ts";
import type { Fact } from "./fact.ts";
import { clockUs, macOf, outcomesOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbText, mdbText } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";
import { mended, withWatchedGuest } from "./watching-agent.ts";

const MAC = macOf(0);
const PEER = "02:00:00:00:00:99";

function entryIn(vlan: number): string {
  return `${MAC} dev tap0 vlan ${vlan} sticky master br0 static`;
}

/** Trap 5, of VLANs on a bridge that filters them. */
export const VLAN_FACTS: readonly Fact[] = [
  {
    name: "are required",
    holds: () =>
      onFilteringBridge((host) => {
        const [refusal] = preflightNics(host.route, [tapNic(0)]);
        assert.equal(refusal?.reason, "BRIDGE_VLAN_AWARE");
      }),
  },
  {
    name: "are those of a port that Switchover made, tagged, and each has its entry while the guest runs",
    holds: () =>
      onFilteringBridge((host) => {
        const multicastGroups = ["239.1.2.3" as MulticastGroup];
        const nics = [tapNic(0, { vlans: [7, 9], multicastGroups })];
        run("ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "1");
        prepareNics(host, nics);
        assert.equal(vlansOf("tap0"), "7, 9");
        const set = armNicSet(host.route, nics, clockUs);
        for (let round = 0; round < 2; round++) {
          assert.equal(fdbText(MAC), "");
          assert.equal(set.start().result, "started");
          assert.equal(fdbText(MAC), [entryIn(7), entryIn(9)].join("\n"));
          assert.equal(mdbText("tap0").split("\n").length, 2);
          assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
          assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        }
        assert.equal(mdbText("tap0"), "");
      }),
  },
  {
    name: "are one untagged VLAN where there is one: an access port",
    holds: () =>
      onFilteringBridge(async (host) => {
        const uplink = addUplink("up0", "br0");
        run("bridge", "vlan", "add", "dev", "up0", "vid", "7", "pvid", "untagged");
        const nics = [tapNic(0, { vlans: [7] })];
        prepareNics(host, nics);
        assert.equal(vlansOf("tap0"), "7 PVID Egress Untagged");
        const guest = new TapEnd("tap0");
        armNicSet(host.route, nics, clockUs).start();
        uplink.send(PEER, MAC, "in the VLAN");
        await eventually("the frame", () => (guest.texts().includes("in the VLAN") ? true : undefined));
        for (const end of [guest, uplink]) end.close();
      }),
  },
  {
    name: "that somebody else's port is not in are refused",
    holds: () =>
      onFilteringBridge((host) => {
        run("ip", "tuntap", "add", "tap0", "mode", "tap");
        run("ip", "link", "set", "tap0", "master", "br0");
        run("bridge", "vlan", "add", "dev", "tap0", "vid", "7");
        const [refusal] = preflightNics(host.route, [tapNic(0, { vlans: [7, 9] })]);
        assert.equal(`${refusal?.reason} ${refusal?.field}`, "VLAN_NOT_ON_PORT nics[0].tap_on_bridge.vlans");
      }),
  },
  {
    name: "of which the port has lost one leave no entry of a start that fails",
    holds: () =>
      onFilteringBridge((host) => {
        const nics = [tapNic(0, { vlans: [7, 9] })];
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        run("bridge", "vlan", "del", "dev", "tap0", "vid", "9");
        assert.equal(outcomesOf(set.start().nics), "net0 failed VLAN_NOT_ON_PORT");
        assert.equal(fdbText(MAC), "");
      }),
  },
  {
    name: "are given back to a running guest's port, with their entries",
    holds: () =>
      withWatchedGuest(
        { tap: { vlans: [7, 9] } },
        async (bench) => {
          run("bridge", "vlan", "del", "dev", "web0", "vid", "9");
          await mended(bench, 1);
          assert.equal(vlansOf("web0"), "7, 9");
          assert.equal(fdbText(MAC).split("\n").length, 2);
        },
        () => void run("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1"),
      ),
  },
];

function onFilteringBridge(body: Parameters<typeof withHost>[0]): Promise<void> {
  return inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0", "vlan_filtering", "1");
      return body(host);
    }),
  );
}

/** `7, 9`, `7 PVID Egress Untagged`. */
function vlansOf(deviceName: string): string {
  return run("bridge", "vlan", "show", "dev", deviceName)
    .split("\n")
    .slice(1)
    .map((line) => line.replace(deviceName, "").trim())
    .filter((line) => line !== "")
    .join(", ");
}
