import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { MulticastGroup } from "../../agent/netlink/multicast.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, outcomesOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbOf, mdbText } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";
import { mended, withWatchedGuest } from "./watching-agent.ts";

const PEER = "02:00:00:00:00:99";
const MAC_GROUP = "01:02:03:04:05:06";
const multicastGroups = ["239.1.2.3", "ff05::1234", MAC_GROUP] as readonly string[] as MulticastGroup[];
const JOINED = [
  `dev br0 port tap0 grp ${MAC_GROUP} permanent`,
  "dev br0 port tap0 grp 239.1.2.3 permanent",
  "dev br0 port tap0 grp ff05::1234 permanent",
].join("\n");
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a NIC's multicast groups", options, () => {
  it("are joined when its CPUs start and left when they stop, as often as that happens", () =>
    onSnoopingBridge((host) => {
      const nics = [tapNic(0, { multicastGroups })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      for (let round = 0; round < 3; round++) {
        assert.equal(mdbText("tap0"), "");
        for (let repeat = 0; repeat < 2; repeat++) assert.equal(set.start().result, "started");
        assert.equal(mdbText("tap0"), JOINED);
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone");
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "quarantined" }]);
      }
    }));

  it("reach the guest from its start on, where the bridge keeps a group to its members", () =>
    onSnoopingBridge(async (host) => {
      const uplink = addUplink("up0", "br0");
      const member = addUplink("member0", "br0");
      run("bridge", "mdb", "add", "dev", "br0", "port", "member0", "grp", MAC_GROUP, "permanent");
      const nics = [tapNic(0, { multicastGroups })];
      prepareNics(host, nics);
      const guest = new TapEnd("tap0");
      const set = armNicSet(host.route, nics, clockUs);
      const send = async (text: string): Promise<void> => {
        uplink.send(PEER, MAC_GROUP, text);
        await eventually(text, () => (member.texts().includes(text) ? true : undefined));
      };
      await send("before the start");
      set.start();
      await send("to the running guest");
      set.stop();
      await send("after the stop");
      assert.deepEqual(guest.texts(), ["to the running guest"]);
      for (const end of [guest, member, uplink]) end.close();
    }));

  it("that a report had joined for a while are joined for good, and left as well", () =>
    onSnoopingBridge((host) => {
      const nics = [tapNic(0, { multicastGroups })];
      prepareNics(host, nics);
      const guest = new TapEnd("tap0");
      run("bridge", "mdb", "add", "dev", "br0", "port", "tap0", "grp", "239.1.2.3", "temp");
      assert.equal(mdbText("tap0"), "dev br0 port tap0 grp 239.1.2.3 temp");
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(verifyNics(host.route, nics)[0]?.registration, "drifted");
      assert.equal(set.start().result, "started");
      assert.equal(mdbText("tap0"), JOINED);
      run("bridge", "mdb", "del", "dev", "br0", "port", "tap0", "grp", "239.1.2.3");
      run("bridge", "mdb", "add", "dev", "br0", "port", "tap0", "grp", "239.1.2.3", "temp");
      assert.equal(set.stop().result, "stopped");
      assert.equal(mdbText("tap0"), "");
      guest.close();
    }));

  it("are left by a tap that is taken over from somebody else", () =>
    onSnoopingBridge((host) => {
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "master", "br0");
      run("bridge", "mdb", "add", "dev", "br0", "port", "tap0", "grp", "239.1.2.3", "permanent");
      assert.equal(mdbText("tap0"), "dev br0 port tap0 grp 239.1.2.3 permanent");
      prepareNics(host, [tapNic(0, { multicastGroups })]);
      assert.equal(mdbText("tap0"), "");
    }));

  it("need nothing on a bridge that does not snoop", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        const nics = [tapNic(0, { multicastGroups })];
        prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");
        assert.equal(mdbText("tap0"), "");
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      }),
    ));

  it("of which the kernel refuses one leave none joined, nor the address registered", () =>
    onSnoopingBridge((host) => {
      prepareNics(host, [tapNic(0)]);
      run("ip", "link", "set", "br0", "down");
      const nics = [tapNic(0, { multicastGroups })];
      const report = armNicSet(host.route, nics, clockUs).start();
      assert.equal(report.result, "failed");
      const [{ outcome } = assert.fail()] = report.nics;
      assert.deepEqual(outcome.result === "failed" && [outcome.problem.reason, outcome.problem.field], [
        "EINVAL",
        "tap_on_bridge.multicast_groups[0]",
      ]);
      run("ip", "link", "set", "br0", "up");
      assert.equal(mdbText("tap0"), "");
      assert.equal(fdbOf(macOf(0)), "");
    }));

  it("are gone with the device or its bridge, and their removal succeeds", () =>
    onSnoopingBridge((host) => {
      const nics = [tapNic(0, { multicastGroups }), tapNic(1, { multicastGroups })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "del", "tap0");
      run("ip", "link", "set", "tap1", "nomaster");
      assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone, net1 alreadyGone");
      assert.equal(mdbText("tap1"), "");
    }));
});

describe("the groups of a running guest", options, () => {
  const snoop = (value: "0" | "1") =>
    run("ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", value);
  const joined = "dev br0 port web0 grp 239.1.2.3 permanent";

  it("are joined again when somebody takes its port out", () =>
    withWatchedGuest(
      { tap: { multicastGroups: ["239.1.2.3"] } },
      async (bench) => {
        assert.equal(mdbText("web0"), joined);
        run("bridge", "mdb", "del", "dev", "br0", "port", "web0", "grp", "239.1.2.3");
        assert.deepEqual(await mended(bench, 1), ["NOT_REGISTERED"]);
        assert.equal(mdbText("web0"), joined);
      },
      () => snoop("1"),
    ));

  it("are joined when its bridge begins to snoop", () =>
    withWatchedGuest({ tap: { multicastGroups: ["239.1.2.3"] } }, async (bench) => {
      assert.equal(mdbText("web0"), "");
      snoop("1");
      assert.deepEqual(await mended(bench, 1), ["NOT_REGISTERED"]);
      assert.equal(mdbText("web0"), joined);
    }));

  it("are left again when somebody joins it to them while it stands", () =>
    withWatchedGuest(
      { tap: { multicastGroups: ["239.1.2.3"] } },
      async (bench) => {
        await bench.agent.stopCpus({ guestId: "web", instanceId: "a1" });
        assert.equal(mdbText("web0"), "");
        run("bridge", "mdb", "add", "dev", "br0", "port", "web0", "grp", "239.1.2.3", "permanent");
        assert.deepEqual(await mended(bench, 1), ["UNWANTED_REGISTRATION"]);
        assert.equal(mdbText("web0"), "");
      },
      () => snoop("1"),
    ));
});

it("the kernel itself refuses the IP groups that it floods", options, () =>
  onSnoopingBridge((host) => {
    prepareNics(host, [tapNic(0)]);
    const links = host.route.execute(
      encodeBatch([
        { op: "getLink", name: "br0" },
        { op: "getLink", name: "tap0" },
      ]),
    );
    const [bridge = 0, tap = 0] = links.map((result) => {
      const message = result.ok ? result.messages[0] : undefined;
      return message?.type === "link" ? message.link.ifindex : 0;
    });
    for (const group of ["224.0.0.5", "ff02::1"] as readonly string[] as MulticastGroup[]) {
      const [result] = host.route.execute(
        encodeBatch([{ op: "replaceGroupEntry", bridgeIfindex: bridge, ifindex: tap, group }]),
      );
      assert.equal(result?.ok === false && result.name, "EINVAL");
    }
  }),
);

function onSnoopingBridge(body: Parameters<typeof withHost>[0]): Promise<void> {
  return inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      run("ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "1");
      return body(host);
    }),
  );
}
