import assert from "node:assert/strict";
import { test } from "node:test";
import { summarizeProbes } from "../lab/probe.ts";
import { findTwoWriters, parseDisk, writerStretches } from "../lab/witness/disk-witness.ts";
import { parseFdbLine, parseFdbShow } from "../lab/witness/fdb-witness.ts";
import { parseFrameLine } from "../lab/witness/tap-capture.ts";

const MAC = "52:54:00:12:34:56";

test("a line of the FDB monitor is read with its port, bridge, state and stickiness", () => {
  const entry = { host: "ha", atUnixUs: 7, mac: MAC, bridge: "br0", vlan: undefined };
  assert.deepEqual(parseFdbLine(`${MAC} dev tap0 sticky master br0 static`, "ha", 7), {
    ...entry,
    ...{ change: "set", dev: "tap0", state: "static", sticky: "sticky" },
  });
  assert.deepEqual(parseFdbLine(`Deleted ${MAC} dev tap0 master br0 static`, "ha", 7), {
    ...entry,
    ...{ change: "deleted", dev: "tap0", state: "static", sticky: "movable" },
  });
  assert.deepEqual(parseFdbLine(`${MAC} dev uplink master br0 `, "ha", 7), {
    ...entry,
    ...{ change: "set", dev: "uplink", state: "dynamic", sticky: "movable" },
  });
  assert.equal(parseFdbLine(`${MAC} dev tap0 vlan 12 master br0 static`, "ha", 7)?.vlan, 12);
});

test("an entry of no bridge is no record", () => {
  assert.equal(parseFdbLine("33:33:00:00:00:01 dev tap0 self permanent", "ha", 7), undefined);
  assert.deepEqual(
    parseFdbShow(`[{"mac":"${MAC}","ifname":"br0","flags":["self"],"state":"permanent"}]`, "ha", 7),
    [],
  );
});

test("the FDB as bridge prints it is read as present entries", () => {
  const [entry] = parseFdbShow(
    `[{"mac":"${MAC}","ifname":"tap0","flags":["sticky"],"master":"br0","state":"static"}]`,
    "ha",
    7,
  );
  assert.deepEqual(entry, {
    ...{ host: "ha", atUnixUs: 7, change: "present", mac: MAC, dev: "tap0", bridge: "br0" },
    ...{ vlan: undefined, state: "static", sticky: "sticky" },
  });
});

test("a captured frame keeps its time to the microsecond, its sender and its type", () => {
  const line = `1795456851.878321 ${MAC} > Broadcast, ethertype Reverse ARP (0x8035), length 60: Reverse Request`;
  assert.deepEqual(parseFrameLine(line, "guest"), {
    ...{ atUnixUs: 1795456851878321, sentBy: "guest", source: MAC },
    ...{ destination: "ff:ff:ff:ff:ff:ff", etherType: "Reverse ARP", lengthBytes: 60 },
  });
  assert.equal(parseFrameLine("0 packets dropped by kernel", "guest"), undefined);
});

function disk(...beats: string[]): Uint8Array {
  const bytes = new Uint8Array(4096 * (beats.length + 1));
  for (const [index, beat] of beats.entries()) bytes.set(Buffer.from(`${beat.padEnd(4095)}\n`), 4096 * index);
  return bytes;
}

test("beats on the shared disk are read in the guest's order, and empty or torn slots are not", () => {
  const records = parseDisk(disk("3 hb 4.25", "1 ha 4.15", "torn", "2 ha 4.20"));
  assert.deepEqual(
    records.map(({ seq, host }) => `${seq} ${host}`),
    ["1 ha", "2 ha", "3 hb"],
  );
  assert.deepEqual(writerStretches(records), [
    { host: "ha", firstSeq: 1, lastSeq: 2 },
    { host: "hb", firstSeq: 3, lastSeq: 3 },
  ]);
  assert.deepEqual(findTwoWriters(records), []);
});

test("two copies of a guest leave one beat twice", () => {
  assert.deepEqual(findTwoWriters(parseDisk(disk("1 ha 1.0", "2 ha 1.1", "2 hb 1.1"))), [
    { seq: 2, hosts: ["ha", "hb"] },
  ]);
});

test("a late reply is a reply, and the longest gap runs between replies and the window's edges", () => {
  const probes = [
    { seq: 0, sentAtUnixUs: 0, repliedAtUnixUs: 1_000 },
    { seq: 1, sentAtUnixUs: 5_000, repliedAtUnixUs: 30_000 },
    { seq: 2, sentAtUnixUs: 10_000, repliedAtUnixUs: undefined },
  ];
  const { sent, lost, longestGapMs } = summarizeProbes("pa", probes, 0, 40_000);
  assert.deepEqual({ sent, lost, longestGapMs }, { sent: 3, lost: 1, longestGapMs: 29 });
});
