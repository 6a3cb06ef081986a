import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type AnnouncementRun, createAnnouncer, type SentFrames } from "../../agent/announce/announcer.ts";
import { type BridgePortsSocket, openBridgePorts } from "../../agent/announce/bridge-ports.ts";
import {
  encodeArpAnnouncement,
  encodeNeighbourAdvertisement,
  encodeReverseArp,
} from "../../agent/announce/frame.ts";
import { packetPort } from "../../agent/announce/packet-socket.ts";
import { type HostDevices, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { announcementsEndedByToJSON } from "../../proto/gen/switchover/v1/feed.ts";
import { parseGuestAddress } from "../../proto/guest-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { unixMicros } from "../lab/realtime-clock.ts";
import { skipWithout } from "../resource.ts";
import { type Bench, nic, prepare, SILENT_LOG, withAgent } from "./agent-bench.ts";
import { addFabric, type Fabric, framesFrom } from "./announce-fabric.ts";
import { clockUs, macOf, macvtapNic, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbOf, linkOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";
import { addBridge, openMacvtap, TapEnd } from "./tap-end.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const PEER = "02:00:00:00:00:99";
const GUEST = macOf(0);
const MAC = parseMacAddress(GUEST, "");
const IPV4 = parseGuestAddress("10.78.0.5", "");
const IPV6 = parseGuestAddress("2001:db8::5", "");
const ROUND = [
  encodeReverseArp(MAC),
  encodeArpAnnouncement(MAC, IPV4),
  encodeNeighbourAdvertisement(MAC, IPV6),
].map((frame) => Buffer.from(frame).toString("hex"));
const options = { skip: skipWithout("root"), timeout: 30_000 };

interface Host {
  readonly fabric: Fabric;
  readonly guest: TapEnd;
  /** Another guest of the host. */
  readonly other: TapEnd;
  readonly announcements: AnnouncementRun;
}

/** A host's bridge with its uplink to a fabric, the running guest's own tap, and another guest's. */
function withRunningGuest(body: (host: Host) => Promise<void>): Promise<void> {
  return inNetworkNamespace(() =>
    withHost(async ({ factory, route }) => {
      addBridge("br0");
      const fabric = addFabric("br0");
      const nics = [tapNic(0, { guestAddresses: [IPV4, IPV6] }), tapNic(1)];
      prepareNics({ factory, route }, nics);
      const guest = new TapEnd("tap0");
      const other = new TapEnd("tap1");
      assert.equal(armNicSet(route, nics, clockUs).start().result, "started");
      const bridgePorts = openBridgePorts(openHostClock());
      const announcer = createAnnouncer({ route, bridgePorts, packets: packetPort, log: SILENT_LOG });
      const announcements = announcer.begin(nics.slice(0, 1), {});
      try {
        await body({ fabric, guest, other, announcements });
      } finally {
        announcements.end();
        bridgePorts.close();
        for (const end of [guest, other, fabric.wire]) end.close();
      }
    }),
  );
}

function oneRound(announcements: AnnouncementRun): Promise<SentFrames> {
  return new Promise((resolve) => announcements.announce(resolve));
}

/** What the wire hears of the guest until there are `count` frames. */
async function heardOn({ wire }: Fabric, count: number): Promise<readonly string[]> {
  const heard: string[] = [];
  await eventually(`${count} frames on the wire`, () => {
    heard.push(...framesFrom(GUEST, wire));
    return heard.length >= count ? true : undefined;
  });
  return heard;
}

describe("the agent's own announcements", options, () => {
  it("leave by the uplink, and switches behind it turn to this host", () =>
    withRunningGuest(async ({ announcements, fabric }) => {
      assert.deepEqual(await oneRound(announcements), { reverseArp: 1, arp: 1, neighbourAdvertisements: 1 });
      assert.deepEqual(await heardOn(fabric, ROUND.length), ROUND);
      assert.equal(fdbOf(GUEST), "tap0 br0 static sticky\nuplink-far sw0 dynamic");
    }));

  it("reach neither the guest itself, which would see a duplicate address (trap 9), nor other guests", () =>
    withRunningGuest(async ({ announcements, fabric, guest, other }) => {
      await oneRound(announcements);
      await heardOn(fabric, ROUND.length);
      assert.deepEqual(framesFrom(GUEST, guest), []);
      assert.deepEqual(framesFrom(GUEST, other), []);
    }));

  it("carry the tag of their VLAN", () =>
    withRunningGuest(async ({ fabric }) => {
      const link = packetPort.open(fabric.uplinkIfindex, [MAC]);
      const tagged = [
        encodeReverseArp(MAC, 7),
        encodeArpAnnouncement(MAC, IPV4, 8),
        encodeNeighbourAdvertisement(MAC, IPV6, 4094),
      ];
      for (const frame of tagged) link.send(frame);
      assert.deepEqual(
        await heardOn(fabric, tagged.length),
        tagged.map((frame) => Buffer.from(frame).toString("hex")),
      );
      link.close();
    }));

  it("are ended by a tagged frame that leaves by the uplink, but by no reverse ARP in it", () =>
    withRunningGuest(async ({ fabric }) => {
      const sender = packetPort.open(fabric.uplinkIfindex, [MAC]);
      const listener = packetPort.open(fabric.uplinkIfindex, [MAC]);
      sender.send(encodeReverseArp(MAC, 7));
      assert.deepEqual([...listener.heard().keys()], []);
      sender.send(encodeArpAnnouncement(MAC, IPV4, 7));
      assert.deepEqual([...listener.heard().keys()], [GUEST]);
      sender.close();
      listener.close();
    }));

  it("are heard with the kernel's time of the first frame, and not with that of its reading", () =>
    withRunningGuest(async ({ fabric }) => {
      const sender = packetPort.open(fabric.uplinkIfindex, [MAC]);
      const listener = packetPort.open(fabric.uplinkIfindex, [MAC]);
      const sent: (readonly [number, number])[] = [];
      // The kernel begins to stamp frames a moment after somebody wants to know.
      const heardAtUnixUs = await eventually("a stamp", () => {
        const beganUnixUs = unixMicros();
        sender.send(encodeArpAnnouncement(MAC, IPV4));
        sent.push([beganUnixUs, unixMicros()]);
        if (sent.length < 3) return undefined;
        const atUnixUs = listener.heard().get(MAC) ?? 0;
        const isOfAFrame = sent.some(([from, to]) => from <= atUnixUs && atUnixUs <= to);
        return isOfAFrame ? atUnixUs : undefined;
      });
      sender.send(encodeArpAnnouncement(MAC, IPV4));
      assert.equal(listener.heard().get(MAC), heardAtUnixUs, "the first one's");
      sender.close();
      listener.close();
    }));

  it("tell of the guest's first frame with its NIC", () =>
    withRunningGuest(async ({ announcements, guest }) => {
      await oneRound(announcements);
      assert.deepEqual(announcements.firstFrames(), []);
      const sentAtUnixUs = unixMicros();
      guest.send(GUEST, PEER, "hello");
      await eventually("evidence", () => (announcements.heard() === "all" ? true : undefined));
      const [first, ...more] = announcements.firstFrames();
      assert.equal(more.length, 0);
      assert.equal(first?.nicId, "net0");
      assert.ok((first?.atUnixUs ?? 0) >= sentAtUnixUs - 1_000);
    }));

  it("are ended by a frame of the guest's own that leaves by the uplink", () =>
    withRunningGuest(async ({ announcements, guest }) => {
      await oneRound(announcements);
      assert.equal(announcements.heard(), "some");
      guest.send(GUEST, PEER, "hello");
      await eventually("evidence", () => (announcements.heard() === "all" ? true : undefined));
      assert.deepEqual(await oneRound(announcements), { reverseArp: 0, arp: 0, neighbourAdvertisements: 0 });
    }));

  for (const [what, send] of [
    ["what they are themselves", () => {}],
    ["the VMM's reverse ARP", ({ guest }) => guest.sendFrame(encodeReverseArp(MAC))],
    [
      "a late frame from the source, which comes in",
      ({ fabric }) => fabric.wire.send(GUEST, BROADCAST, "late"),
    ],
    ["what another guest sends", ({ other }) => other.send(macOf(1), BROADCAST, "other")],
  ] as const satisfies readonly (readonly [string, (host: Host) => void])[]) {
    it(`are not ended by ${what}`, () =>
      withRunningGuest(async (host) => {
        await oneRound(host.announcements);
        send(host);
        await oneRound(host.announcements);
        await heardOn(host.fabric, 2 * ROUND.length);
        assert.equal(host.announcements.heard(), "some");
      }));
  }

  it("cost frames and nothing else where an uplink goes down, or away", () =>
    withRunningGuest(async ({ announcements }) => {
      const none = { reverseArp: 0, arp: 0, neighbourAdvertisements: 0 };
      await oneRound(announcements);
      run("ip", "link", "set", "uplink", "down");
      assert.deepEqual(await oneRound(announcements), none);
      run("ip", "link", "delete", "uplink");
      assert.deepEqual(await oneRound(announcements), none);
      assert.equal(announcements.heard(), "some");
    }));
});

for (const mode of ["bridge", "passthrough"] as const) {
  it(
    `announcements of a macvtap in ${mode} mode leave by its parent, past the guest, until that is heard`,
    options,
    () =>
      inNetworkNamespace(() =>
        withHost(async ({ factory, route }) => {
          const fabric = addFabric();
          const nics = [macvtapNic(0, { mode, parent: "uplink", guestAddresses: [IPV4, IPV6] })];
          prepareNics({ factory, route }, nics);
          assert.equal(armNicSet(route, nics, clockUs).start().result, "started");
          const guest = openMacvtap("mv0");
          const bridgePorts = openBridgePorts(openHostClock());
          const announcer = createAnnouncer({ route, bridgePorts, packets: packetPort, log: SILENT_LOG });
          const announcements = announcer.begin(nics, {});
          await oneRound(announcements);
          assert.deepEqual(await heardOn(fabric, ROUND.length), ROUND);
          assert.deepEqual(framesFrom(GUEST, guest), []);
          assert.equal(announcements.heard(), "some");
          // What a link without a carrier is given it throws away.
          await eventually("the macvtap's carrier", () => (/ up UP /.test(linkOf("mv0")) ? true : undefined));
          guest.send(GUEST, PEER, "hello");
          await eventually("evidence", () => (announcements.heard() === "all" ? true : undefined));
          announcements.end();
          bridgePorts.close();
          guest.close();
          fabric.wire.close();
        }),
      ),
  );
}

/** The agent with its own announcements, a fabric behind its bridge, and a guest that starts. */
function withAnnouncingAgent(body: (bench: Bench, fabric: Fabric) => Promise<void>): Promise<void> {
  let fabric: Fabric | undefined;
  let bridgePorts: BridgePortsSocket | undefined;
  return withAgent(
    async (bench) => {
      bench.vmms.set("/run/a1", new PretendedVmm("prelaunch"));
      await bench.agent.prepareNics(prepare("a1", [nic({ guestAddresses: [IPV4, IPV6] })]));
      await bench.agent.adoptGuest({
        guestId: "web",
        instanceId: "a1",
        qmpPath: "/run/a1",
        externalCpuSource: undefined,
      });
      assert.ok(fabric);
      await body(bench, fabric);
      fabric.wire.close();
      bridgePorts?.close();
    },
    ({ route }: HostDevices) => {
      fabric = addFabric("br0");
      bridgePorts = openBridgePorts(openHostClock());
      return { announcer: createAnnouncer({ route, bridgePorts, packets: packetPort, log: SILENT_LOG }) };
    },
  );
}

async function announcedBy(bench: Bench): Promise<readonly string[]> {
  await bench.agent.feedDrained(2_000);
  return bench.told.flatMap(({ event }) => {
    if (event?.$case !== "announced") return [];
    const { endedBy, frames, round } = event.value;
    const sent = frames === undefined ? "nothing" : Object.values(frames).join("+");
    return [`${round} ${sent}${endedBy === undefined ? "" : ` ${announcementsEndedByToJSON(endedBy)}`}`];
  });
}

describe("a guest whose parent was raised with it", options, () => {
  it("is announced from when its parent has a carrier, and what was lost before is not counted", () =>
    inNetworkNamespace(() =>
      withHost(async ({ factory, route }) => {
        const fabric = addFabric();
        const nics = [macvtapNic(0, { mode: "passthrough", parent: "uplink", guestAddresses: [IPV4, IPV6] })];
        prepareNics({ factory, route }, nics);
        run("ip", "link", "set", "uplink-far", "down");
        assert.equal(armNicSet(route, nics, clockUs).start().result, "started");
        const bridgePorts = openBridgePorts(openHostClock());
        const announcer = createAnnouncer({ route, bridgePorts, packets: packetPort, log: SILENT_LOG });
        const announcements = announcer.begin(nics, {});
        const nothing = { reverseArp: 0, arp: 0, neighbourAdvertisements: 0 };
        assert.deepEqual(await oneRound(announcements), nothing);
        run("ip", "link", "set", "uplink-far", "up");
        await eventually("the carrier", () => (/ up UP /.test(linkOf("uplink")) ? true : undefined));
        assert.deepEqual(await oneRound(announcements), {
          reverseArp: 1,
          arp: 1,
          neighbourAdvertisements: 1,
        });
        assert.deepEqual(await heardOn(fabric, ROUND.length), ROUND);
        announcements.end();
        bridgePorts.close();
        fabric.wire.close();
      }),
    ));
});

describe("an agent whose guest starts", options, () => {
  it("announces it on its whole schedule where it is silent, and nothing before RESUME", () =>
    withAnnouncingAgent(async (bench, fabric) => {
      assert.deepEqual(framesFrom(GUEST, fabric.wire), []);
      await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      assert.equal((await heardOn(fabric, 5 * ROUND.length)).length, 5 * ROUND.length);
      assert.deepEqual(await announcedBy(bench), [
        "1 1+1+1",
        "2 1+1+1",
        "3 1+1+1",
        "4 1+1+1",
        "5 1+1+1 ANNOUNCEMENTS_ENDED_BY_SCHEDULE",
      ]);
    }));

  it("announces it no more once it is heard", () =>
    withAnnouncingAgent(async (bench, fabric) => {
      const guest = new TapEnd("web0");
      await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      await heardOn(fabric, ROUND.length);
      guest.send(GUEST, PEER, "hello");
      await eventually("the end", () =>
        bench.told.some(({ event }) => event?.$case === "announced" && event.value.endedBy !== undefined)
          ? true
          : undefined,
      );
      assert.deepEqual(await announcedBy(bench), ["1 1+1+1", "2 nothing ANNOUNCEMENTS_ENDED_BY_EVIDENCE"]);
      guest.close();
    }));

  it("announces nothing once its CPUs have stopped", () =>
    withAnnouncingAgent(async (bench, fabric) => {
      await bench.agent.startCpus({ guestId: "web", instanceId: "" });
      await heardOn(fabric, ROUND.length);
      await bench.agent.stopCpus({ guestId: "web", instanceId: "" });
      framesFrom(GUEST, fabric.wire);
      await sleep(100);
      assert.deepEqual(framesFrom(GUEST, fabric.wire), []);
    }));
});
