import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeChanges } from "../../agent/netlink/kernel-change.ts";
import { IPV4_ADDRESS, IPV6_ADDRESS } from "./netlink-captured.ts";

/** What the kernel (6.18) told for the command beside it. */
const ENTRY =
  "000000000000000000000700000003000000400040000a0002005254001234560000080009000200000008000f0000000000" +
  "1400030000000000000000000000000000000000";
const PORT =
  "a00100001000000000000000000000000700010003000000031000000000000009000300746170310000000008000a000200" +
  "000008000400dc05000005001000020000000a000100a624d8374940000050010c8005000100000000000600020020000000" +
  "0800030002000000050004000000000005000500000000000500060000000000050007000000000005001c00000000000500" +
  "080000000000050009000100000005001b000100000005001e000100000005000a000000000005000c00000000000c000d00" +
  "8000a624d83749400c000e008000a624d837494006000f000180000006001000000000000600110001800000060012000100" +
  "00000500130000000000050014000000000005001d000000000006001f000000000005002000000000000500230000000000" +
  "050024000000000005002100000000000500270000000000050028000000000005002b00000000000c001500000000000000" +
  "00000c00160000000000000000000c0017000000000000000000050019000100000008002500000200000800260000000000" +
  "080029000000000008002a0000000000";
const PORT_REMOVED =
  "500000001100000000000000000000000700010003000000031000000000000009000300746170310000000008000a000200000008" +
  "000400dc05000005001000020000000a000100768ea3047c120000";
/** The interface's own part of it; the rest is counters. */
const LINK_REMOVED =
  "2c0000001100000000000000000000000000010003000000021000" + "00ffffffff090003007461703100000000";
const IP_NEIGHBOUR =
  "4c0000001c000000000000008f5a0000020000000200000080000003080001000a0000010a0002005254000000090000080004000000" +
  "00001400030000000000000000000000000001000000";

const entry = {
  ifindex: 3,
  macAddress: "52:54:00:12:34:56",
  state: "static",
  sticky: "sticky",
  masterIfindex: 2,
};

for (const [command, hex, expected] of [
  [
    "bridge fdb replace 52:54:00:12:34:56 dev tap1 master static sticky",
    `4c0000001c00${ENTRY}`,
    [{ kind: "fdbEntryChanged", entry }],
  ],
  [
    "bridge fdb del 52:54:00:12:34:56 dev tap1 master",
    `4c0000001d00${ENTRY}`,
    [{ kind: "fdbEntryRemoved", entry }],
  ],
  ["ip link set tap1 nomaster", PORT_REMOVED, [{ kind: "portRemoved", ifindex: 3, name: "tap1" }]],
  ["ip link del tap1", LINK_REMOVED, [{ kind: "linkRemoved", ifindex: 3, name: "tap1" }]],
  [
    "ip addr add 169.254.0.1/32 dev tap4 scope link",
    `500000001400${"00".repeat(10)}${IPV4_ADDRESS}`,
    [{ kind: "addressChanged", address: { ifindex: 3, address: "169.254.0.1/32" } }],
  ],
  [
    "ip addr del fe80::1/64 dev tap4",
    `480000001500${"00".repeat(10)}${IPV6_ADDRESS}`,
    [{ kind: "addressRemoved", address: { ifindex: 3, address: "fe80::1/64" } }],
  ],
  ["ip neigh add 10.0.0.1 lladdr 52:54:00:00:00:09 dev br0", IP_NEIGHBOUR, []],
] as const) {
  test(`what the kernel tells of "${command}" is read`, () => {
    assert.deepEqual(decodeChanges(bytesOf(hex)), expected);
  });
}

test("what a bridge tells of its port carries the port's flags", () => {
  const [change, ...rest] = decodeChanges(bytesOf(PORT));
  assert.deepEqual(rest, []);
  assert.equal(change?.kind, "linkChanged");
  const { name, state, masterIfindex, port } = change.link;
  assert.deepEqual(
    { name, state, masterIfindex, port },
    {
      name: "tap1",
      state: "up",
      masterIfindex: 2,
      port: { learning: "off", unicastFlood: "on", multicastFlood: "on", broadcastFlood: "on" },
    },
  );
});

test("a notification that cannot be read counts as lost", () => {
  assert.deepEqual(decodeChanges(bytesOf(PORT).subarray(0, 100)), [{ kind: "overrun" }]);
});

test("a damaged notification is read as changes or as lost, never thrown", () => {
  for (const hex of [
    `4c0000001c00${ENTRY}`,
    PORT,
    PORT_REMOVED,
    `480000001400${"00".repeat(10)}${IPV6_ADDRESS}`,
  ]) {
    const whole = bytesOf(hex);
    const damage = fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(damage, fc.nat({ max: whole.length }), (changes, cut) => {
        const damaged = whole.slice(0, cut === 0 ? whole.length : cut);
        for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
        assert.ok(Array.isArray(decodeChanges(damaged)));
      }),
      { numRuns: 2000 },
    );
  }
});

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}
