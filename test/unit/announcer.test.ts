import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { announcementsOf } from "../../agent/announce/announcement.ts";
import { createAnnouncer, type SentFrames } from "../../agent/announce/announcer.ts";
import type { BridgePorts } from "../../agent/announce/bridge-ports.ts";
import type { PacketPort } from "../../agent/announce/packet-port.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import type { UnmanagedNic } from "../../agent/device/unmanaged/definition.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { parseGuestAddress } from "../../proto/guest-address.ts";
import { type MacAddress, macAddressFromBytes, parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

function tap(index: number, change: Partial<TapOnBridgeNic> = {}): TapOnBridgeNic {
  return {
    type: "tapOnBridge",
    nicId: `net${index}`,
    macAddress: parseMacAddress(`52:54:00:00:00:0${index + 1}`, ""),
    deviceName: `tap${index}`,
    bridge: "br0",
    macTableManager: "switchover",
    sticky: "sticky",
    ...change,
  };
}

const HOSTDEV: UnmanagedNic = {
  type: "unmanaged",
  nicId: "net9",
  macAddress: parseMacAddress("52:54:00:00:00:09", ""),
  kind: "hostdev",
};
const ADDRESSES = ["10.0.0.5", "2001:db8::5"].map((text) => parseGuestAddress(text, ""));

/** Links that write down what is sent by them, as `eth0 52:54:00:00:00:01 8035`. */
function bench(faults: { readonly open?: string; readonly send?: string } = {}) {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0");
  for (const name of ["tap0", "tap1", "tap8"]) {
    kernel.create({ deviceName: name });
    kernel.execute(
      encodeBatch([
        {
          op: "setLink",
          ifindex: kernel.link(name)?.ifindex ?? 0,
          change: { masterIfindex: kernel.link("br0")?.ifindex ?? 0, state: "up" },
        },
      ]),
    );
  }
  kernel.addPort("eth0", "br0");
  const sent: string[] = [];
  const opened: string[] = [];
  const warnings: string[] = [];
  const heard = new Map<MacAddress, number>();
  const fault = (reason: string) => new SwitchoverError("UNAVAILABLE", reason, { reason });
  const packets: PacketPort = {
    open: (ifindex, sources) => {
      if (faults.open !== undefined) throw fault(faults.open);
      const name = nameOf(kernel, ifindex);
      opened.push(`${name} ${sources.join(" ")}`);
      return {
        send: (frame) => {
          if (faults.send !== undefined) throw fault(faults.send);
          sent.push(`${name} ${macAddressFromBytes(frame, 6)} ${Buffer.from(frame).toString("hex", 12, 14)}`);
        },
        heard: () => heard,
        close: () => void opened.push(`closed ${name}`),
      };
    },
  };
  const bridgePorts: BridgePorts = {
    of: async (masterIfindex) =>
      kernel.dump({ op: "dumpLinks", masterIfindex }).flatMap((m) => (m.type === "link" ? [m.link] : [])),
  };
  const silent = () => {};
  const log = {
    debug: silent,
    info: silent,
    error: silent,
    warn: (fields: { readonly reason?: unknown }) => void warnings.push(String(fields.reason)),
  };
  const announcer = createAnnouncer({ route: kernel, bridgePorts, packets, log });
  return { announcer, heard, kernel, opened, sent, warnings };
}

function nameOf(kernel: PretendedKernel, ifindex: number): string {
  const names = ["br0", "tap0", "tap1", "tap8", "eth0", "eth1"];
  return names.find((name) => kernel.link(name)?.ifindex === ifindex) ?? "";
}

const RARP_0 = "eth0 52:54:00:00:00:01 8035";

describe("the agent's own announcements", () => {
  it("leave by the bridge's uplinks alone, MAC addresses first, and are counted", async () => {
    const { announcer, kernel, opened, sent } = bench();
    kernel.addPort("eth1", "br0");
    const run = announcer.begin([tap(0, { guestAddresses: ADDRESSES }), tap(1)], {});
    const counts: SentFrames[] = [];
    run.announce((frames) => void counts.push(frames));
    assert.deepEqual(opened, [], "not within the call");
    await nextTurn();
    assert.deepEqual(opened, [
      "eth0 52:54:00:00:00:01 52:54:00:00:00:02",
      "eth1 52:54:00:00:00:01 52:54:00:00:00:02",
    ]);
    assert.deepEqual(sent, [
      RARP_0,
      "eth1 52:54:00:00:00:01 8035",
      "eth0 52:54:00:00:00:02 8035",
      "eth1 52:54:00:00:00:02 8035",
      "eth0 52:54:00:00:00:01 0806",
      "eth1 52:54:00:00:00:01 0806",
      "eth0 52:54:00:00:00:01 86dd",
      "eth1 52:54:00:00:00:01 86dd",
    ]);
    assert.deepEqual(counts, [{ reverseArp: 4, arp: 2, neighbourAdvertisements: 2 }]);
    run.end();
  });

  it("stop for a NIC that is heard, and are heard only when each NIC is", async () => {
    const { announcer, heard, sent } = bench();
    const run = announcer.begin([tap(0), tap(1)], {});
    run.announce(() => {});
    await nextTurn();
    assert.equal(run.heard(), "some");
    heard.set(tap(0).macAddress, 7);
    assert.equal(run.heard(), "some");
    sent.length = 0;
    run.announce(() => {});
    await nextTurn();
    assert.deepEqual(sent, ["eth0 52:54:00:00:00:02 8035"]);
    heard.set(tap(1).macAddress, 7);
    assert.equal(run.heard(), "all");
    run.end();
  });

  it("are not all heard where a NIC has no link to be heard on", async () => {
    const { announcer, heard } = bench();
    const run = announcer.begin([tap(0), HOSTDEV], {});
    run.announce(() => {});
    await nextTurn();
    for (const nic of [tap(0), HOSTDEV]) heard.set(nic.macAddress, 7);
    assert.equal(run.heard(), "some");
    run.end();
  });

  it("end at once, in the middle of a round too, which is told with what had left", async () => {
    const { announcer, opened, sent } = bench();
    const guestAddresses = Array.from({ length: 64 }, (_, index) =>
      parseGuestAddress(`10.0.0.${index + 1}`, ""),
    );
    const run = announcer.begin([tap(0, { guestAddresses }), tap(1, { guestAddresses })], {});
    const counts: SentFrames[] = [];
    run.announce((frames) => void counts.push(frames));
    await nextTurn();
    assert.equal(sent.length, 64, "one slice a turn");
    run.end();
    run.end();
    await nextTurn();
    assert.equal(sent.length, 64);
    assert.deepEqual(counts, [{ reverseArp: 2, arp: 62, neighbourAdvertisements: 0 }]);
    assert.equal(opened.at(-1), "closed eth0");
  });

  it("are told in order where a round comes while the one before is still leaving, which sends all it has", async () => {
    const { announcer, sent } = bench();
    const guestAddresses = Array.from({ length: 64 }, (_, index) =>
      parseGuestAddress(`10.0.0.${index + 1}`, ""),
    );
    const run = announcer.begin([tap(0, { guestAddresses })], {});
    const counts: string[] = [];
    run.announce(({ arp }) => void counts.push(`first ${arp}`));
    await nextTurn();
    run.announce(({ arp }) => void counts.push(`second ${arp}`));
    assert.deepEqual(counts, []);
    await nextTurn();
    assert.deepEqual(counts, ["first 64", "second 0"]);
    assert.equal(sent.length, 65);
    run.end();
  });

  it("send nothing where they end before their first turn", async () => {
    const { announcer, opened } = bench();
    const run = announcer.begin([tap(0)], {});
    run.announce(() => {});
    run.end();
    await nextTurn();
    assert.deepEqual(opened, []);
  });

  it("are done with nothing sent, and one warning, where links cannot be opened or take no frames", async () => {
    for (const faults of [{ open: "EPERM" }, { send: "ENETDOWN" }]) {
      const { announcer, warnings } = bench(faults);
      const run = announcer.begin([tap(0, { guestAddresses: ADDRESSES })], {});
      const counts: SentFrames[] = [];
      for (let round = 0; round < 2; round++) {
        run.announce((frames) => void counts.push(frames));
        await nextTurn();
      }
      assert.deepEqual(counts, Array(2).fill({ reverseArp: 0, arp: 0, neighbourAdvertisements: 0 }));
      assert.deepEqual(warnings, Object.values(faults));
      assert.equal(run.heard(), "some");
      run.end();
    }
  });

  it("are neither sent nor counted where a link has no carrier, and are as soon as it has", async () => {
    const { announcer, kernel, sent, warnings } = bench();
    kernel.change("eth0", { carrier: "off" });
    const run = announcer.begin([tap(0)], {});
    const counts: SentFrames[] = [];
    for (const carrier of ["off", "off", "on"] as const) {
      kernel.change("eth0", { carrier });
      run.announce((frames) => void counts.push(frames));
      await nextTurn();
    }
    assert.deepEqual(
      counts.map(({ reverseArp }) => reverseArp),
      [0, 0, 1],
    );
    assert.deepEqual(sent, [RARP_0]);
    assert.deepEqual(warnings, ["NO_CARRIER"]);
    run.end();
  });

  it("name each MAC address of a NIC in each of its VLANs", () => {
    const nic = tap(0, { additionalMacAddresses: [parseMacAddress("52:54:00:00:00:07", "")] });
    const paths = [7, 8].map((vlan) => ({ ifindex: 2, vlan }));
    assert.deepEqual(
      [...announcementsOf([{ nic, paths }])].map(
        ({ frame }) => `${macAddressFromBytes(frame, 6)} ${Buffer.from(frame).readUInt16BE(14)}`,
      ),
      ["52:54:00:00:00:01 7", "52:54:00:00:00:01 8", "52:54:00:00:00:07 7", "52:54:00:00:00:07 8"],
    );
  });

  it("name an IP address in the one VLAN of its NIC, and in none of several", () => {
    const nic = tap(0, { guestAddresses: ADDRESSES });
    const kindsIn = (vlans: readonly number[]): readonly string[] =>
      [...announcementsOf([{ nic, paths: vlans.map((vlan) => ({ ifindex: 2, vlan })) }])].map(
        ({ frame, kind }) => `${kind} ${Buffer.from(frame).readUInt16BE(14)}`,
      );
    assert.deepEqual(kindsIn([7]), ["reverseArp 7", "arp 7", "neighbourAdvertisements 7"]);
    assert.deepEqual(kindsIn([7, 8]), ["reverseArp 7", "reverseArp 8"]);
  });
});
