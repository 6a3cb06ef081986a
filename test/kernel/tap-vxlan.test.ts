import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { describe, it } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { skipWithout } from "../resource.ts";
import { prepare } from "./agent-bench.ts";
import { clockUs, macOf, outcomesOf, tapNic, withHost } from "./guest-nics.ts";
import { deviceNames, eventually, fdbText } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addOverlay, addVxlan, SOURCE_VTEP, VNI, VTEP } from "./overlay.ts";
import { addBridge, addUplink } from "./tap-end.ts";
import { mended, nicWith, withWatchedGuest } from "./watching-agent.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const PEER = "02:00:00:00:00:99";
const [MAC, SECOND] = [macOf(0), macOf(1)];
const vxlan = { deviceName: "vx0", vtepAddress: parseIpAddress(VTEP, "") };
const additionalMacAddresses = [parseMacAddress(SECOND, "")];
const ON_TAP = `${MAC} dev tap0 sticky master br0 static`;
const RUNNING = `${MAC} dev vx0 dst ${VTEP} self static\n${MAC} dev web0 sticky master br0 static`;
const tap = { vxlan: { deviceName: "vx0", vtepAddress: VTEP, vni: undefined } };
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a NIC with a VXLAN device", options, () => {
  it("has its addresses behind this host's VTEP while its CPUs run, in place of the source's", () =>
    onOverlay((host) => {
      const nics = [tapNic(0, { additionalMacAddresses, vxlan })];
      prepareNics(host, nics);
      run("bridge", "fdb", "replace", MAC, "dev", "vx0", "dst", SOURCE_VTEP, "self", "static");
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(fdbText(MAC, SECOND), `${MAC} dev vx0 dst ${SOURCE_VTEP} self static`);
      for (let round = 0; round < 3; round++) {
        for (let repeat = 0; repeat < 2; repeat++) assert.equal(set.start().result, "started");
        assert.equal(
          fdbText(MAC, SECOND),
          [
            ON_TAP,
            `${MAC} dev vx0 dst ${VTEP} self static`,
            `${SECOND} dev tap0 sticky master br0 static`,
            `${SECOND} dev vx0 dst ${VTEP} self static`,
          ].join("\n"),
        );
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "registered" }]);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(fdbText(MAC, SECOND), "");
        assert.deepEqual(verifyNics(host.route, nics), [{ registration: "quarantined" }]);
      }
    }));

  it("leaves an entry alone at its stop that leads to another VTEP by then", () =>
    onOverlay((host) => {
      const nics = [tapNic(0, { vxlan })];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("bridge", "fdb", "replace", MAC, "dev", "vx0", "dst", SOURCE_VTEP, "self", "static");
      assert.equal(verifyNics(host.route, nics)[0]?.registration, "drifted");
      assert.equal(set.stop().result, "stopped");
      assert.equal(fdbText(MAC), `${MAC} dev vx0 dst ${SOURCE_VTEP} self static`);
      assert.deepEqual(verifyNics(host.route, nics), [{ registration: "quarantined" }]);
    }));

  it("drops late frames from the source's VTEP, which would have moved a learned entry", () =>
    onOverlay(async (host) => {
      const nics = [tapNic(0, { vxlan })];
      prepareNics(host, nics);
      const bystander = addUplink("other0", "br0");
      const source = await openVtep(SOURCE_VTEP);
      const hear = (text: string): Promise<readonly string[]> => {
        const texts: string[] = [];
        return eventually(text, () => {
          texts.push(...bystander.texts());
          return texts.includes(text) ? texts : undefined;
        });
      };
      source.send(MAC, "from the running source");
      await hear("from the running source");
      assert.equal(fdbText(MAC), `${MAC} dev vx0 dst ${SOURCE_VTEP} self\n${MAC} dev vx0 master br0`);

      assert.equal(armNicSet(host.route, nics, clockUs).start().result, "started");
      const registered = `${ON_TAP}\n${MAC} dev vx0 dst ${VTEP} self static`;
      assert.equal(fdbText(MAC), registered);
      source.send(MAC, "late");
      source.send(PEER, "from a neighbour of the source's");
      assert.deepEqual(await hear("from a neighbour of the source's"), ["from a neighbour of the source's"]);
      assert.equal(fdbText(MAC), registered);
      source.close();
      bystander.close();
    }));

  it("has its entry under its VNI on a device that takes those from its entries", () =>
    onOverlay((host) => {
      run("ip", "link", "add", "vxe", "type", "vxlan", "external", "local", VTEP, "dstport", "4790");
      run("ip", "link", "set", "vxe", "master", "br0", "up");
      const nics = [tapNic(0, { vxlan: { ...vxlan, deviceName: "vxe", vni: 200 } })];
      prepareNics(host, nics);
      run(
        "bridge",
        "fdb",
        "replace",
        MAC,
        "dev",
        "vxe",
        "dst",
        SOURCE_VTEP,
        "src_vni",
        "201",
        "self",
        "static",
      );
      const other = fdbText(MAC);
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(set.start().result, "started");
      assert.match(fdbText(MAC), /^52:54:00:00:00:01 dev vxe dst 10.0.0.1 vni 200 src_vni 200 self static$/m);
      assert.equal(set.stop().result, "stopped");
      assert.equal(fdbText(MAC), other);
    }));

  it("is not started where its VXLAN device is gone, and all of it is stopped where that goes while it runs", () =>
    onOverlay((host) => {
      const nics = [tapNic(0, { vxlan })];
      const ownerships = new Map(prepareNics(host, nics).map(({ nicId, ownership }) => [nicId, ownership]));
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "del", "vx0");
      assert.equal(verifyNics(host.route, nics)[0]?.registration, "drifted");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(fdbText(MAC), "");
      const report = set.start();
      assert.equal(outcomesOf(report.nics), "net0 failed VXLAN_MISSING");
      assert.equal(fdbText(MAC), "");
      addVxlan();
      assert.equal(set.start().result, "started");
      assert.equal(fdbText(MAC), `${ON_TAP}\n${MAC} dev vx0 dst ${VTEP} self static`);
      assert.deepEqual(releaseNics(host.route, nics, ownerships, "delete"), [{ nicId: "net0" }]);
      assert.equal(fdbText(MAC), "");
    }));

  it("is refused by name where the host is not as it says, and nothing is changed", () =>
    onOverlay((host) => {
      run("ip", "link", "add", "vx1", "type", "vxlan", "id", "7", "local", VTEP, "dstport", "4791");
      run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      const before = [deviceNames(), run("bridge", "fdb", "show")];
      const refusals = [
        { ...vxlan, deviceName: "vx9" },
        { ...vxlan, deviceName: "v0" },
        { ...vxlan, deviceName: "vx1" },
        { ...vxlan, vtepAddress: parseIpAddress(SOURCE_VTEP, "") },
        { ...vxlan, vni: 7 },
      ].flatMap((wanted) => preflightNics(host.route, [tapNic(0, { vxlan: wanted })]));
      assert.deepEqual(
        refusals.map(({ reason, field }) => `${reason} ${field}`),
        [
          "VXLAN_MISSING nics[0].tap_on_bridge.vxlan.device_name",
          "NOT_A_VXLAN nics[0].tap_on_bridge.vxlan.device_name",
          "VXLAN_NOT_A_PORT nics[0].tap_on_bridge.vxlan.device_name",
          "VTEP_ADDRESS_DIFFERS nics[0].tap_on_bridge.vxlan.vtep_address",
          "VNI_DIFFERS nics[0].tap_on_bridge.vxlan.vni",
        ],
      );
      assert.deepEqual([deviceNames(), run("bridge", "fdb", "show")], before);
    }));
});

describe("the VXLAN entry of a running guest", options, () => {
  for (const [what, reason, drift] of [
    [
      "removes it",
      "NOT_REGISTERED",
      () => void run("bridge", "fdb", "del", MAC, "dev", "vx0", "dst", VTEP, "self"),
    ],
    [
      "points it to another VTEP",
      "REGISTERED_ELSEWHERE",
      () => void run("bridge", "fdb", "replace", MAC, "dev", "vx0", "dst", SOURCE_VTEP, "self", "static"),
    ],
    [
      "makes the device anew",
      "VXLAN_MISSING",
      () => {
        run("ip", "link", "del", "vx0");
        addVxlan();
      },
    ],
  ] as const) {
    it(`is mended when somebody ${what}`, () =>
      withWatchedGuest(
        { tap },
        async (bench) => {
          assert.equal(fdbText(MAC), RUNNING);
          drift();
          const [found] = await mended(bench, 1);
          // Whether the device is back when that is looked at depends on who is faster.
          assert.ok(found === reason || (reason === "VXLAN_MISSING" && found === "NOT_REGISTERED"), found);
          assert.equal(fdbText(MAC), RUNNING);
        },
        addOverlay,
      ));
  }
});

it(
  "one instance of a guest on a host has the VXLAN entries: a second one beside it is refused",
  options,
  () =>
    withWatchedGuest(
      { tap },
      async (bench) => {
        const second = (change: Parameters<typeof nicWith>[0]) =>
          prepare("a2", [nicWith({ ...change, tap: { deviceName: "web1", ...change.tap } })]);
        await assert.rejects(bench.agent.prepareNics(second({ tap })), {
          code: "FAILED_PRECONDITION",
          reason: "VXLAN_IN_USE",
          field: "nics[0].tap_on_bridge.vxlan",
        });
        assert.equal(fdbText(MAC), RUNNING);
        await bench.agent.prepareNics(second({}));
        await bench.agent.prepareNics(second({ nic: { macAddress: SECOND } }));
        const further = { ...nicWith({ tap: { ...tap, deviceName: "web2" } }), nicId: "net1" };
        const attachment = { guestId: "web", instanceId: "a2", nic: further, validateOnly: false };
        await assert.rejects(bench.agent.attachNic(attachment), {
          code: "FAILED_PRECONDITION",
          reason: "VXLAN_IN_USE",
          field: "nic.tap_on_bridge.vxlan",
        });
        assert.equal(deviceNames().includes("web2"), false);
        assert.equal(fdbText(MAC), RUNNING);
      },
      addOverlay,
    ),
);

function onOverlay(body: Parameters<typeof withHost>[0]): Promise<void> {
  return inNetworkNamespace(() =>
    withHost((host) => {
      addBridge("br0");
      addOverlay();
      return body(host);
    }),
  );
}

interface Vtep {
  /** A broadcast frame of an experimental Ethernet type, as `TapEnd.send` makes it, in VXLAN (RFC 7348). */
  send(from: string, text: string): void;
  close(): void;
}

async function openVtep(address: string): Promise<Vtep> {
  const socket: Socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  return {
    send(from, text) {
      const frame = Buffer.alloc(60);
      frame.write(`${BROADCAST}${from}88b5`.replaceAll(":", ""), "hex");
      frame.write(text, 14, "latin1");
      const header = Buffer.from([8, 0, 0, 0, 0, 0, VNI, 0]);
      socket.send(Buffer.concat([header, frame]), 4789, VTEP);
    },
    close: () => void socket.close(),
  };
}
