import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { skipWithout } from "../resource.ts";
import { adopted, nic, prepare, withAgent } from "./agent-bench.ts";
import { clockUs, macOf, tapNic, withHost } from "./guest-nics.ts";
import { eventually, fdbOf, fdbText } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";
import { mended, withWatchedGuest } from "./watching-agent.ts";

const PEER = "02:00:00:00:00:99";
const [FIRST, SECOND, THIRD] = [macOf(0), macOf(1), macOf(2)];
const additionalMacAddresses = [parseMacAddress(SECOND, ""), parseMacAddress(THIRD, "")];
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a NIC with three addresses", options, () => {
  it("has all of them registered while its CPUs run, and hears what is sent to each", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        const uplink = addUplink("up0", "br0");
        const nics = [tapNic(0, { additionalMacAddresses })];
        prepareNics(host, nics);
        const guest = new TapEnd("tap0");
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(fdbText(FIRST, SECOND, THIRD), "");

        assert.equal(set.start().result, "started");
        assert.equal(
          fdbText(FIRST, SECOND, THIRD),
          [
            `${FIRST} dev tap0 sticky master br0 static`,
            `${SECOND} dev tap0 sticky master br0 static`,
            `${THIRD} dev tap0 sticky master br0 static`,
          ].join("\n"),
        );
        for (const mac of [FIRST, SECOND, THIRD]) uplink.send(PEER, mac, `to ${mac}`);
        assert.deepEqual(guest.texts(), [`to ${FIRST}`, `to ${SECOND}`, `to ${THIRD}`]);
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);

        run("bridge", "fdb", "del", THIRD, "dev", "tap0", "master");
        assert.equal(verifyNics(host.route, nics)[0]?.registration, "drifted");
        assert.equal(set.stop().result, "stopped");
        assert.equal(fdbText(FIRST, SECOND, THIRD), "");
        for (const end of [guest, uplink]) end.close();
      }),
    ));

  it("has nothing added on a bridge that the kernel manages, and all that was learned goes at stop", () =>
    inNetworkNamespace(() =>
      withHost(async (host) => {
        addBridge("br0");
        const nics = [tapNic(0, { additionalMacAddresses, macTableManager: "kernel" })];
        prepareNics(host, nics);
        const guest = new TapEnd("tap0");
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");
        assert.equal(fdbText(FIRST, SECOND, THIRD), "");
        for (const mac of [FIRST, SECOND, THIRD]) guest.send(mac, PEER, "hello");
        await eventually("learning", () => (fdbOf(THIRD) === "tap0 br0 dynamic" ? true : undefined));
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
        assert.equal(set.stop().result, "stopped");
        assert.equal(fdbText(FIRST, SECOND, THIRD), "");
        guest.close();
      }),
    ));

  it("loses what an existing tap and its bridge held of any of them when it is prepared", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        run("ip", "link", "set", "br0", "address", "02:00:00:00:00:01");
        run("ip", "tuntap", "add", "tap0", "mode", "tap");
        run("ip", "link", "set", "tap0", "address", SECOND, "master", "br0");
        run("bridge", "fdb", "replace", THIRD, "dev", "tap0", "master", "static");
        assert.equal(
          fdbText(SECOND, THIRD),
          `${SECOND} dev tap0 master br0 permanent\n${THIRD} dev tap0 master br0 static`,
        );
        prepareNics(host, [tapNic(0, { additionalMacAddresses })]);
        assert.equal(fdbText(FIRST, SECOND, THIRD), "");
      }),
    ));

  it("is refused where one of them is the bridge's own", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        run("ip", "link", "set", "br0", "address", THIRD);
        const [refusal] = preflightNics(host.route, [tapNic(0, { additionalMacAddresses })]);
        assert.equal(
          `${refusal?.reason} ${refusal?.field}`,
          "MAC_OF_BRIDGE nics[0].additional_mac_addresses[1]",
        );
      }),
    ));
});

describe("a guest with further addresses", options, () => {
  it("keeps them from other guests on its bridge, as its first", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      const other = (change: Parameters<typeof NicDefinition.fromPartial>[0]) =>
        prepare(
          "b1",
          [NicDefinition.fromPartial({ ...nic({ macAddress: macOf(5), deviceName: "db0" }), ...change })],
          "db",
        );
      await assert.rejects(bench.agent.prepareNics(other({ additionalMacAddresses: [macOf(6), FIRST] })), {
        code: "FAILED_PRECONDITION",
        reason: "MAC_IN_USE",
        field: "nics[0].additional_mac_addresses[1]",
      });
      await bench.agent.prepareNics(other({ additionalMacAddresses: [macOf(6)] }));
      const third = prepare("c1", [nic({ macAddress: macOf(6), deviceName: "app0" })], "app");
      await assert.rejects(bench.agent.prepareNics(third), {
        reason: "MAC_IN_USE",
        field: "nics[0].mac_address",
      });
    }));

  it("has each of them mended when somebody removes it", () =>
    withWatchedGuest({ nic: { additionalMacAddresses: [SECOND, THIRD] } }, async (bench) => {
      for (const [index, mac] of [SECOND, FIRST, THIRD].entries()) {
        assert.equal(fdbOf(mac), "web0 br0 static sticky");
        run("bridge", "fdb", "del", mac, "dev", "web0", "master");
        assert.deepEqual(await mended(bench, index + 1), Array(index + 1).fill("NOT_REGISTERED"));
        assert.equal(fdbOf(mac), "web0 br0 static sticky");
      }
    }));
});
