import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeChanges } from "../../agent/netlink/kernel-change.ts";
import { decodeLink } from "../../agent/netlink/link-decoder.ts";
import { decodeMessages, patchSequence } from "../../agent/netlink/message.ts";
import { decodeMulticastEntries, type MulticastGroup } from "../../agent/netlink/multicast.ts";
import { decodeFdbEntry } from "../../agent/netlink/neighbour.ts";
import { decodePortVlans } from "../../agent/netlink/port-vlan.ts";
import { encodeDump, encodeRequest, type RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { GROUP_REPLY, VXLAN_REPLY, VXLAN_VNI_REPLY } from "./netlink-captured.ts";

const SEQUENCE = 0x6b05b767;
const MAC = parseMacAddress("52:54:00:12:34:56", "");
const VTEP = parseIpAddress("10.0.0.1", "");
const VXLAN_ENTRY = { ifindex: 4, macAddress: MAC, vtepAddress: VTEP };
const GROUP = { bridgeIfindex: 2, group: "239.1.2.3" as MulticastGroup };

/** Bytes that iproute2 6.1 sent for the command beside them, captured with strace. */
const IPROUTE2: readonly [command: string, request: RouteRequest, hex: string][] = [
  [
    "bridge fdb replace 52:54:00:12:34:56 dev 4 dst 10.0.0.1 self static",
    { op: "replaceVxlanEntry", ...VXLAN_ENTRY },
    "300000001c00050567b7056b000000000700000004000000420002000a0002005254001234560000080001000a000001",
  ],
  [
    "bridge fdb replace 52:54:00:12:34:56 dev 4 dst 10.0.0.1 vni 100 src_vni 100 self static",
    { op: "replaceVxlanEntry", ...VXLAN_ENTRY, vni: 100 },
    "400000001c00050567b7056b000000000700000004000000420002000a0002005254001234560000080001000a000001" +
      "080007006400000008000b0064000000",
  ],
  [
    "bridge fdb get 52:54:00:12:34:56 dev 4 self",
    { op: "getVxlanEntry", ifindex: 4, macAddress: MAC },
    "280000001e00010067b7056b000000000700000004000000000002000a0002005254001234560000",
  ],
  [
    "bridge fdb get 52:54:00:12:34:56 dev 4 vni 100 self",
    { op: "getVxlanEntry", ifindex: 4, macAddress: MAC, vni: 100 },
    "300000001e00010067b7056b000000000700000004000000000002000a00020052540012345600000800070064000000",
  ],
  [
    "bridge fdb del 52:54:00:12:34:56 dev 4 dst 10.0.0.1 self",
    { op: "deleteVxlanEntry", ...VXLAN_ENTRY },
    "300000001d00050067b7056b000000000700000004000000c00002000a0002005254001234560000080001000a000001",
  ],
  [
    "bridge fdb del 52:54:00:12:34:56 dev 4 dst 10.0.0.1 vni 100 src_vni 100 self",
    { op: "deleteVxlanEntry", ...VXLAN_ENTRY, vni: 100 },
    "400000001d00050067b7056b000000000700000004000000c00002000a0002005254001234560000080001000a000001" +
      "080007006400000008000b0064000000",
  ],
  [
    "bridge mdb del dev 2 port 3 grp 239.1.2.3",
    { op: "deleteGroupEntry", ...GROUP, ifindex: 3 },
    "380000005500050067b7056b0000000007000000020000002000010003000000" +
      "00000000ef01020300000000000000000000000008000000",
  ],
  [
    "bridge vlan add dev 3 vid 7 pvid untagged",
    { op: "addPortVlans", ifindex: 3, vlans: [7] },
    "2c0000001300050067b7056b00000000070000000300000000000000000000000c001a000800020006000700",
  ],
];

for (const [command, request, hex] of IPROUTE2) {
  test(`${request.op} is what "${command}" sends`, () => {
    assert.equal(sent(request), hex);
  });
}

for (const [command, key, entry] of [
  [
    "bridge mdb add dev 2 port 3 grp 239.1.2.3 permanent",
    GROUP,
    "01000000ef01020300000000000000000000000008000000",
  ],
  [
    "bridge mdb add dev 2 port 3 grp ff05::1234 permanent vid 7",
    { bridgeIfindex: 2, group: "ff05::1234" as MulticastGroup, vlan: 7 },
    "01000700ff05000000000000000000000000123486dd0000",
  ],
  [
    "bridge mdb add dev 2 port 3 grp 01:02:03:04:05:06 permanent",
    { bridgeIfindex: 2, group: "01:02:03:04:05:06" as MulticastGroup },
    "010000000102030405060000000000000000000000000000",
  ],
] as const) {
  test(`replaceGroupEntry is what "${command}" sends, but replaces`, () => {
    // The command says CREATE|EXCL (0605).
    assert.equal(
      sent({ op: "replaceGroupEntry", ...key, ifindex: 3 }),
      `380000005400050567b7056b0000000007000000020000002000010003000000${entry}`,
    );
  });
}

test("getGroupEntry asks the bridge for the group on any port (linux/if_bridge.h, MDBA_GET_ENTRY)", () => {
  assert.equal(
    sent({ op: "getGroupEntry", ...GROUP }),
    "380000005600010067b7056b0000000007000000020000002000010000000000" +
      "00000000ef01020300000000000000000000000008000000",
  );
});

test('several VLANs of a port are all tagged, as with one "bridge vlan add" each', () => {
  assert.equal(
    sent({ op: "addPortVlans", ifindex: 3, vlans: [7, 8] }),
    "340000001300050067b7056b000000000700000003000000000000000000000014001a000800020000000700" +
      "0800020000000800",
  );
});

test('a port is taken out of what lies between its VLANs, as "bridge vlan del vid 10-20" names a range', () => {
  assert.equal(
    sent({ op: "keepPortVlans", ifindex: 3, vlans: [4094, 2, 4] }),
    "440000001100050067b7056b000000000700000003000000000000000000000024001a00" +
      "0800020000000100" +
      "0800020000000300" +
      "0800020008000500" +
      "080002001000fd0f",
  );
});

test("the VLANs of one port are asked for by its index (linux/if_bridge.h, struct br_vlan_msg)", () => {
  const bytes = encodeDump({ op: "dumpPortVlans", ifindex: 3 });
  patchSequence(new DataView(bytes.buffer), 0, SEQUENCE);
  assert.equal(Buffer.from(bytes).toString("hex"), "180000007200010367b7056b000000000700000003000000");
});

test("the VLANs that a kernel tells of a port are read, single ones and ranges (linux/if_bridge.h)", () => {
  const payload = bytesOf(
    "0700000003000000" + "0c00018008000100060007001400018008000100000014000600020016000000",
  );
  assert.deepEqual(decodePortVlans(payload), { ifindex: 3, vlans: [7, 20, 21, 22] });
});

test("the VLANs in what a bridge tells of its port are read with its flags (linux/if_bridge.h)", () => {
  const name = "090003007461703100000000";
  const info = "1c001a00" + "0800020006000700" + "0800020008001400" + "0800020010001600";
  const link = decodeLink(bytesOf(`07000100030000000310000000000000${name}${info}`));
  assert.deepEqual(link.portVlans, [7, 20, 21, 22]);
});

test("the members of a group that the kernel tells are read", () => {
  const [message] = decodeMessages(bytesOf(GROUP_REPLY));
  assert.deepEqual(message && decodeMulticastEntries(message.payload), [
    { ...GROUP, ifindex: 3, state: "permanent" },
    { ...GROUP, ifindex: 4, state: "permanent" },
  ]);
});

test("a VXLAN device's entries that the kernel tells are read, with their VTEP and VNI", () => {
  const read = [VXLAN_REPLY, VXLAN_VNI_REPLY].flatMap((hex) =>
    decodeMessages(bytesOf(hex)).map(({ payload }) => decodeFdbEntry(payload)),
  );
  const entry = { macAddress: MAC, state: "static", sticky: "plain", vtepAddress: "10.0.0.1" };
  assert.deepEqual(read, [
    { ...entry, ifindex: 5 },
    { ...entry, ifindex: 6, vni: 200 },
  ]);
});

for (const [command, type, kind, group, address] of [
  ["add 239.1.2.3", "54", "groupEntryChanged", "239.1.2.3", "ef01020300000000000000000000000008000000"],
  ["add ff05::1234", "54", "groupEntryChanged", "ff05::1234", "ff05000000000000000000000000123486dd0000"],
  [
    "add 01:02:03:04:05:06",
    "54",
    "groupEntryChanged",
    "01:02:03:04:05:06",
    "0102030405060000000000000000000000000000",
  ],
  ["del 239.1.2.3", "55", "groupEntryRemoved", "239.1.2.3", "ef01020300000000000000000000000008000000"],
] as const) {
  test(`what the kernel (6.18) tells of "bridge mdb ${command}" is read`, () => {
    const told =
      `50000000${type}000000000000000000000007000000` +
      "02000000" +
      `3800010034000100300001000300000001000000${address}08000100000000000500050004000000`;
    assert.deepEqual(decodeChanges(bytesOf(told)), [
      { kind, entry: { bridgeIfindex: 2, ifindex: 3, group, state: "permanent" } },
    ]);
  });
}

function sent(request: RouteRequest): string {
  const bytes = encodeRequest(request);
  patchSequence(new DataView(bytes.buffer, bytes.byteOffset), 0, SEQUENCE);
  return Buffer.from(bytes).toString("hex");
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}
