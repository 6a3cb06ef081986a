import assert from "node:assert/strict";
import { createAnnouncer, type SentFrames } from "../../agent/announce/announcer.ts";
import { openBridgePorts } from "../../agent/announce/bridge-ports.ts";
import { packetPort } from "../../agent/announce/packet-socket.ts";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { MulticastGroup } from "../../agent/netlink/multicast.ts";
import { OrphanKind } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { SILENT_LOG, withAgent } from "./agent-bench.ts";
import { addFabric } from "./announce-fabric.ts";
import type { Fact } from "./fact.ts";
import { clockUs, macOf, outcomesOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbOf, fdbText, mdbText, vlansOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";
import { mended, withWatchedGuest } from "./watching-agent.ts";

const MAC = macOf(0);
const PEER = "02:00:00:00:00:99";

function entryIn(vlan: number): string {
  return `${MAC} dev tap0 vlan ${vlan} sticky master br0 static`;
}

/**
 * Of bridges on a kernel that can filter VLANs, as any distribution's can: of one that does, and of one that does not, where
 * the kernel copies an entry in no VLAN into each VLAN of the port, and every port is in VLAN 1.
 */
export const VLAN_FACTS: readonly Fact[] = [
  {
    name: "on a bridge that filters, VLANs are required",
    holds: () =>
      onFilteringBridge((host) => {
        const [refusal] = preflightNics(host.route, [tapNic(0)]);
        assert.equal(refusal?.reason, "BRIDGE_VLAN_AWARE");
      }),
  },
  {
    name: "on one that filters, a port that Switchover made is in its NIC's VLANs, each with its entry while the guest runs",
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
    name: "on one that filters, a single VLAN is untagged: an access port",
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
    name: "on one that filters, VLANs that somebody else's port is not in are refused",
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
    name: "on one that filters, a start that fails since the port has lost a VLAN leaves no entry in the others",
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
    name: "on one that filters, a running guest's port is given its VLANs back, with their entries",
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
  {
    name: "on one that filters, a guest is announced in its VLAN, until the uplink hears its own frame there",
    holds: () =>
      onFilteringBridge(async ({ route, factory }) => {
        const fabric = addFabric("br0");
        run("ip", "link", "set", "sw0", "type", "bridge", "vlan_filtering", "1");
        for (const port of ["uplink", "uplink-far"]) run("bridge", "vlan", "add", "dev", port, "vid", "7");
        const nics = [tapNic(0, { vlans: [7] })];
        prepareNics({ route, factory }, nics);
        const guest = new TapEnd("tap0");
        armNicSet(route, nics, clockUs).start();
        const bridgePorts = openBridgePorts(openHostClock());
        const announcements = createAnnouncer({
          route,
          bridgePorts,
          packets: packetPort,
          log: SILENT_LOG,
        }).begin(nics, {});
        const frames = await new Promise<SentFrames>((resolve) => announcements.announce(resolve));
        assert.equal(frames.reverseArp, 1);
        assert.equal(fdbText(MAC), `${entryIn(7)}\n${MAC} dev uplink-far vlan 7 master sw0`);
        assert.equal(announcements.heard(), "some");
        guest.send(MAC, PEER, "hello");
        await eventually("evidence", () => (announcements.heard() === "all" ? true : undefined));
        announcements.end();
        bridgePorts.close();
        for (const end of [guest, fabric.wire]) end.close();
      }),
  },
  {
    name: "on one that does not filter, the copies of a NIC's entry in its port's VLANs are removed with it",
    holds: () =>
      inNetworkNamespace(() =>
        withHost((host) => {
          addBridge("br0");
          const nics = [tapNic(0)];
          prepareNics(host, nics);
          const set = armNicSet(host.route, nics, clockUs);
          set.start();
          assert.deepEqual(vlansOfEntries(), ["-", "1"]);
          assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
          assert.equal(outcomesOf(set.stop().nics), "net0 removed");
          assert.deepEqual(vlansOfEntries(), []);
        }),
      ),
  },
  {
    name: "on one that does not filter, an entry that a late frame has moved is elsewhere at the stop, which removes its copies",
    holds: () =>
      inNetworkNamespace(() =>
        withHost(async (host) => {
          addBridge("br0");
          const nics = [tapNic(0, { sticky: "plain" })];
          prepareNics(host, nics);
          const uplink = addUplink("up0", "br0");
          const set = armNicSet(host.route, nics, clockUs);
          set.start();
          await eventually("the theft", () => {
            uplink.send(MAC, PEER, "late");
            return fdbOf(MAC).startsWith("tap0 vlan 1 ") ? true : undefined;
          });
          assert.equal(outcomesOf(set.stop().nics), "net0 elsewhere");
          assert.equal(fdbOf(MAC), "up0 br0 static");
          uplink.close();
        }),
      ),
  },
  {
    name: "on one that does not filter, an orphan's entry is listed once, and removed with its copies",
    holds: () =>
      withAgent(async ({ agent, devices }) => {
        prepareNics(devices, [tapNic(0)]);
        run("bridge", "fdb", "replace", MAC, "dev", "tap0", "master", "static", "sticky");
        assert.deepEqual(vlansOfEntries(), ["-", "1"]);
        const { orphans } = await agent.listOrphans({});
        assert.deepEqual(
          orphans.map(({ kind }) => kind),
          [OrphanKind.FDB_ENTRY, OrphanKind.DEVICE],
        );
        const removed = await agent.removeOrphans({ deviceNames: [], all: true, validateOnly: false });
        assert.deepEqual(removed.orphans, orphans);
        assert.deepEqual(vlansOfEntries(), []);
      }),
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

/** Of the guest's entries, `-` for one in no VLAN. */
function vlansOfEntries(): string[] {
  return run("bridge", "fdb", "show")
    .split("\n")
    .filter((line) => line.startsWith(MAC))
    .map((line) => / vlan (\d+)/.exec(line)?.[1] ?? "-")
    .sort();
}
