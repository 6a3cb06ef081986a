import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeAddress } from "../../agent/netlink/address.ts";
import { decodeLink } from "../../agent/netlink/link-decoder.ts";
import { decodeMessages, decodeVerdict, patchSequence } from "../../agent/netlink/message.ts";
import { decodeFdbEntry } from "../../agent/netlink/neighbour.ts";
import { decodeRoute } from "../../agent/netlink/route.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import { encodeDump, encodeRequest, type RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseIpPrefix } from "../../proto/ip-prefix.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import {
  BRIDGE_PORT_REPLY,
  IPV4_ADDRESS,
  IPV4_ROUTE_REPLY,
  IPV6_ADDRESS,
  IPV6_ROUTE_REPLY,
} from "./netlink-captured.ts";

const MAC = parseMacAddress("52:54:00:12:34:56", "mac_address");
/** The sequence number of the captures, 6979046b in little endian. */
const SEQUENCE = 0x6b047969;
/** IFLA_EXT_MASK, as iproute2 and as this codec ask. */
const WITH_VIRTUAL_FUNCTIONS = "08001d0001000000";
const WITH_VIRTUAL_FUNCTIONS_AND_NO_COUNTERS = "08001d0009000000";
const NO_COUNTERS = "08001d0008000000";
/** The fixed part's family, behind the sequence number and the sender. */
const OF_PACKETS = "6979046b0000000011000000";
const OF_NO_FAMILY = "6979046b0000000000000000";

/** Bytes that iproute2 6.1 sent for the command beside them, captured with strace. */
const IPROUTE2: readonly [command: string, request: RouteRequest, hex: string][] = [
  [
    "bridge fdb replace 52:54:00:12:34:56 dev 4 master static sticky",
    { op: "replaceFdbEntry", ifindex: 4, macAddress: MAC, sticky: "sticky" },
    "280000001c0005056979046b000000000700000004000000420044000a0002005254001234560000",
  ],
  [
    "bridge fdb replace 52:54:00:12:34:57 dev 4 master static",
    {
      op: "replaceFdbEntry",
      ifindex: 4,
      macAddress: parseMacAddress("52:54:00:12:34:57", ""),
      sticky: "plain",
    },
    "280000001c0005056979046b000000000700000004000000420004000a0002005254001234570000",
  ],
  [
    "bridge fdb replace 52:54:00:12:34:57 dev 4 master static vlan 7",
    {
      op: "replaceFdbEntry",
      ifindex: 4,
      macAddress: parseMacAddress("52:54:00:12:34:57", ""),
      vlan: 7,
      sticky: "plain",
    },
    "300000001c0005056979046b000000000700000004000000420004000a00020052540012345700000600050007000000",
  ],
  [
    "bridge fdb del 52:54:00:12:34:56 dev 4 master",
    { op: "deleteFdbEntry", ifindex: 4, macAddress: MAC },
    "280000001d0005006979046b000000000700000004000000c00004000a0002005254001234560000",
  ],
  [
    "ip link set 4 addrgenmode none",
    { op: "setLink", ifindex: 4, change: { addrGenMode: "none" } },
    "30000000100005006979046b000000000000000004000000000000000000000010001a000c000a000500080001000000",
  ],
  [
    "ip link set 4 up",
    { op: "setLink", ifindex: 4, change: { state: "up" } },
    "20000000100005006979046b0000000000000000040000000100000001000000",
  ],
  [
    "ip link set 5 master 2",
    { op: "setLink", ifindex: 5, change: { masterIfindex: 2 } },
    "28000000100005006979046b000000000000000005000000000000000000000008000a0002000000",
  ],
  [
    "ip link set 5 nomaster",
    { op: "setLink", ifindex: 5, change: { masterIfindex: 0 } },
    "28000000100005006979046b000000000000000005000000000000000000000008000a0000000000",
  ],
  [
    "ip link set 5 mtu 1400 txqlen 500",
    { op: "setLink", ifindex: 5, change: { mtu: 1400, txQueueLength: 500 } },
    "30000000100005006979046b0000000000000000050000000000000000000000080004007805000008000d00f4010000",
  ],
  [
    "ip link set 5 address fe:54:00:12:34:56",
    { op: "setLink", ifindex: 5, change: { macAddress: parseMacAddress("fe:54:00:12:34:56", "") } },
    "2c000000100005006979046b00000000000000000500000000000000000000000a000100fe54001234560000",
  ],
  [
    "ip link add br9 type bridge",
    { op: "createLink", name: "br9", kind: "bridge" },
    "38000000100005066979046b00000000000000000000000000000000000000000800030062723900100012000a0001006272696467650000",
  ],
  ...(
    [
      ["bridge", "bridge", "04"],
      ["private", "private", "01"],
      ["vepa", "vepa", "02"],
      ["passthru", "passthrough", "08"],
    ] as const
  ).map(([word, mode, number]): (typeof IPROUTE2)[number] => [
    `ip link add mv9 link 3 type macvtap mode ${word}`,
    { op: "createMacvtap", name: "mv9", parentIfindex: 3, mode },
    "4c000000100005066979046b000000000000000000000000000000000000000008000500030000000800030" +
      `06d7639001c0012000b0001006d616376746170000c00020008000100${number}000000`,
  ]),
  [
    "ip link set dev 3 type macvtap mode source",
    { op: "setMacvtapMode", ifindex: 3, mode: "source" },
    "3c000000100005006979046b000000000000000003000000000000000000000" +
      "01c0012000b0001006d616376746170000c0002000800010010000000",
  ],
  [
    "ip link property add dev 3 altname swx",
    { op: "setAltName", ifindex: 3, altName: "swx", presence: "present" },
    "2c0000006c00050e6979046b00000000000000000300000000000000000000000c0034800800350073777800",
  ],
  [
    "ip link property del dev 3 altname swx",
    { op: "setAltName", ifindex: 3, altName: "swx", presence: "absent" },
    "2c0000006d0005006979046b00000000000000000300000000000000000000000c0034800800350073777800",
  ],
  [
    "ip link del 5",
    { op: "deleteLink", ifindex: 5 },
    "20000000110005006979046b0000000000000000050000000000000000000000",
  ],
  [
    "ip addr replace 169.254.0.1/32 dev 4 scope link",
    { op: "replaceAddress", ifindex: 4, address: parseIpPrefix("169.254.0.1/32", "") },
    "28000000140005056979046b00000000022000fd0400000008000200a9fe000108000100a9fe0001",
  ],
  [
    "ip addr replace 10.1.0.1/24 dev 4",
    { op: "replaceAddress", ifindex: 4, address: parseIpPrefix("10.1.0.1/24", "") },
    "28000000140005056979046b000000000218000004000000080002000a010001080001000a010001",
  ],
  [
    "ip addr replace fe80::1/64 dev 4 nodad",
    { op: "replaceAddress", ifindex: 4, address: parseIpPrefix("fe80::1/64", "") },
    "40000000140005056979046b000000000a4002000400000014000200fe8000000000000000000000000000011400" +
      "0100fe800000000000000000000000000001",
  ],
  [
    "ip addr del 169.254.0.1/32 dev 4",
    { op: "deleteAddress", ifindex: 4, address: parseIpPrefix("169.254.0.1/32", "") },
    "28000000150005006979046b000000000220000004000000" + "08000200a9fe000108000100a9fe0001",
  ],
  [
    "ip addr del fe80::1/64 dev 4",
    { op: "deleteAddress", ifindex: 4, address: parseIpPrefix("fe80::1/64", "") },
    "40000000150005006979046b000000000a4000000400000014000200fe8000000000000000000000000000011400" +
      "0100fe800000000000000000000000000001",
  ],
  [
    "ip route replace 192.0.2.7/32 dev 4 scope link proto static",
    { op: "replaceRoute", ifindex: 4, prefix: parseIpPrefix("192.0.2.7/32", "") },
    "2c000000180005056979046b0000000002200000fe04fd010000000008000100c00002070800040004000000",
  ],
  [
    "ip route replace 2001:db8::7/128 dev 4 proto static metric 1",
    { op: "replaceRoute", ifindex: 4, prefix: parseIpPrefix("2001:db8::7/128", "") },
    "40000000180005056979046b000000000a800000fe040001000000001400010020010db800000000000000000000" +
      "000708000600010000000800040004000000",
  ],
  [
    "ip route del 192.0.2.7/32 dev 4",
    { op: "deleteRoute", ifindex: 4, prefix: parseIpPrefix("192.0.2.7/32", "") },
    "2c000000190005006979046b0000000002200000fe00ff000000000008000100c00002070800040004000000",
  ],
  [
    "ip -6 route del 2001:db8::7/128 dev 4",
    { op: "deleteRoute", ifindex: 4, prefix: parseIpPrefix("2001:db8::7/128", "") },
    "38000000190005006979046b000000000a800000fe000000000000001400010020010db800000000000000000000" +
      "00070800040004000000",
  ],
  [
    "ip route get fibmatch 192.0.2.7",
    { op: "getRoute", prefix: parseIpPrefix("192.0.2.7/32", "") },
    "240000001a0001006979046b0000000002200000000000000030000008000100c0000207",
  ],
  [
    "ip -6 route get fibmatch 2001:db8::7",
    { op: "getRoute", prefix: parseIpPrefix("2001:db8::7/128", "") },
    "300000001a0001006979046b000000000a80000000000000002000001400010020010db8000000000000000000000007",
  ],
  [
    "ip link set 3 down",
    { op: "setLink", ifindex: 3, change: { state: "down" } },
    "20000000100005006979046b0000000000000000030000000000000001000000",
  ],
  [
    "ip link set 3 alias switchover",
    { op: "setLink", ifindex: 3, change: { alias: "switchover" } },
    "30000000100005006979046b00000000000000000300000000000000000000000e0014007377697463686f7665720000",
  ],
  [
    "ip link set 3 addrgenmode eui64",
    { op: "setLink", ifindex: 3, change: { addrGenMode: "eui64" } },
    "30000000100005006979046b000000000000000003000000000000000000000010001a000c000a000500080000000000",
  ],
  [
    "bridge fdb del 52:54:00:12:34:57 dev 3 master vlan 7",
    { op: "deleteFdbEntry", ifindex: 3, macAddress: parseMacAddress("52:54:00:12:34:57", ""), vlan: 7 },
    "300000001d0005006979046b000000000700000003000000c00004000a00020052540012345700000600050007000000",
  ],
  [
    "bridge fdb flush dev 3 master vlan 9 static",
    { op: "flushStaticEntries", ifindex: 3, vlan: 9 },
    "2c0000001d0005026979046b00000000070000000300000040000400060005000900000006001000c0000000",
  ],
  [
    "bridge fdb get 52:54:00:12:34:56 br 2",
    { op: "getFdbEntry", bridgeIfindex: 2, macAddress: MAC },
    "300000001e0001006979046b000000000700000000000000000000000a00020052540012345600000800090002000000",
  ],
  [
    "bridge fdb get 52:54:00:12:34:56 br 2 vlan 7",
    { op: "getFdbEntry", bridgeIfindex: 2, macAddress: MAC, vlan: 7 },
    "380000001e0001006979046b000000000700000000000000000000000a0002005254001234560000060005000700000008000900" +
      "02000000",
  ],
  [
    "ip addr show dev 4 (after its padding is cut off)",
    { op: "getAddresses", ifindex: 4 },
    "18000000160001036979046b000000000000000004000000",
  ],
  ...(
    [
      ["-4", "ipv4", "02"],
      ["-6", "ipv6", "0a"],
    ] as const
  ).map(([option, family, number]): (typeof IPROUTE2)[number] => [
    `ip ${option} route show table all dev 3 (after its padding is cut off)`,
    { op: "getRoutes", ifindex: 3, family },
    `240000001a0001036979046b00000000${number}00000000000000000000000800040003000000`,
  ]),
];

for (const [command, request, hex] of IPROUTE2) {
  test(`${request.op} is what "${command}" sends`, () => {
    assert.equal(sent(encodeRequest(request)), hex);
  });
}

/** Captured in the same way, of commands that ask in other words, which are replaced here by ours. */
const REWORDED: readonly [command: string, ours: Uint8Array, theirs: string, edits: [string, string][]][] = [
  [
    "ip link set 3 type bridge_slave learning off flood off mcast_flood on bcast_flood on",
    encodeRequest({
      op: "setBridgePort",
      ifindex: 3,
      flags: { learning: "off", unicastFlood: "off", multicastFlood: "on", broadcastFlood: "on" },
    }),
    "58000000100005006979046b0000000000000000030000000000000000000000380012001000010062726964" +
      "67655f736c61766524000500050008000000000005000900000000000500" +
      "1b000100000005001e0001000000",
    // The kernel goes by the port's master, whatever kind is named.
    [
      ["58000000", "54000000"],
      ["38001200", "34001200"],
      ["100001006272696467655f736c617665", "0a0004006272696467650000"],
    ],
  ],
  [
    "ip link show tap1 (its first request)",
    encodeRequest({ op: "getLink", name: "tap1" }),
    "34000000120001006979046b000000000000000000000000000000000000000008001d0009000000090003007461703100000000",
    [[WITH_VIRTUAL_FUNCTIONS_AND_NO_COUNTERS, NO_COUNTERS]],
  ],
  [
    "ip link show",
    encodeDump({ op: "dumpLinks" }),
    "28000000120001036979046b000000001100000000000000000000000000000008001d0001000000",
    [
      [OF_PACKETS, OF_NO_FAMILY],
      [WITH_VIRTUAL_FUNCTIONS, NO_COUNTERS],
    ],
  ],
  [
    "ip link show master 2",
    encodeDump({ op: "dumpLinks", masterIfindex: 2 }),
    "30000000120001036979046b000000001100000000000000000000000000000008001d000100000008000a0002000000",
    [
      [OF_PACKETS, OF_NO_FAMILY],
      [WITH_VIRTUAL_FUNCTIONS, NO_COUNTERS],
    ],
  ],
  [
    "ip link show type macvtap",
    encodeDump({ op: "dumpLinks", kind: "macvtap" }),
    "38000000120001036979046b000000001100000000000000000000000000000008001d0001000000100012000b0001006d61637674617000",
    [
      [OF_PACKETS, OF_NO_FAMILY],
      [WITH_VIRTUAL_FUNCTIONS, NO_COUNTERS],
    ],
  ],
  [
    "bridge fdb show br 2 (after its padding is cut off)",
    encodeDump({ op: "dumpFdb", bridgeIfindex: 2 }),
    "240000001e0001036979046b000000000700000000000000000000000800090002000000",
    [],
  ],
];

for (const [command, ours, theirs, edits] of REWORDED) {
  test(`"${command}" sends what is sent here, but for its own words`, () => {
    const reworded = edits.reduce((hex, [from, to]) => {
      assert.ok(hex.includes(from));
      return hex.replace(from, to);
    }, theirs);
    assert.equal(sent(ours), reworded);
  });
}

test("a sticky entry that the kernel reports reads as one", () => {
  const [message] = decodeMessages(
    bytesOf(
      "4c0000001c0000006979046be41100000700000004000000400040000a0002005254001234560000" +
        "080009000200000008000f00000000001400030000000000080000000800000000000000",
    ),
  );
  assert.deepEqual(message && decodeFdbEntry(message.payload), {
    ifindex: 4,
    macAddress: MAC,
    state: "static",
    sticky: "sticky",
    masterIfindex: 2,
  });
});

test("a bridge's port that the kernel reports reads as one", () => {
  const [message] = decodeMessages(bytesOf(BRIDGE_PORT_REPLY));
  assert.deepEqual(message && decodeLink(message.payload), {
    ifindex: 4,
    name: "tap1",
    state: "up",
    operState: "down",
    carrier: "off",
    macAddress: "da:c1:47:56:c1:78",
    mtu: 1500,
    txQueueLength: 1000,
    masterIfindex: 2,
    masterKind: "bridge",
    kind: "tun",
    tunMode: "tap",
    addrGenMode: "none",
    port: { learning: "off", unicastFlood: "off", multicastFlood: "off", broadcastFlood: "off" },
    portState: "blocked",
  });
});

test("a route to a whole network asks for an address in its middle", () => {
  for (const [prefix, address] of [
    ["10.7.0.0/24", "0a070080"],
    ["10.7.0.0/31", "0a070001"],
    ["2001:db8:7::/64", "20010db8000700008000000000000000"],
  ] as const) {
    const hex = sent(encodeRequest({ op: "getRoute", prefix: parseIpPrefix(prefix, "") }));
    assert.equal(hex.slice(-address.length), address);
  }
});

test("addresses and routes that the kernel reports read as such", () => {
  assert.deepEqual(decodeAddress(bytesOf(IPV4_ADDRESS)), { ifindex: 3, address: "169.254.0.1/32" });
  assert.deepEqual(decodeAddress(bytesOf(IPV6_ADDRESS)), { ifindex: 3, address: "fe80::1/64" });
  const main = { kind: "unicast", origin: "other", table: "main", ifindex: 3 } as const;
  for (const [hex, prefix] of [
    [IPV4_ROUTE_REPLY, "192.0.2.7/32"],
    [IPV6_ROUTE_REPLY, "2001:db8::7/128"],
  ] as const) {
    const [message] = decodeMessages(bytesOf(hex));
    assert.deepEqual(message && decodeRoute(message.payload), { prefix, ...main });
  }
});

test("a route to the host itself, of the kernel's own, by a rule's table, and by several next hops reads as such", () => {
  const routeOf = (table: string, protocol: string, type: string, attributes: string): unknown =>
    decodeRoute(bytesOf(`02200000${table}${protocol}fe${type}00000000${attributes}`));
  const prefix = "10.9.9.9/32";
  const destination = "080001000a090909";
  assert.deepEqual(routeOf("fe", "02", "02", `${destination}0800040001000000`), {
    prefix,
    kind: "local",
    origin: "kernel",
    table: "main",
    ifindex: 1,
  });
  assert.deepEqual(routeOf("64", "ba", "01", `${destination}08000f0064000000`), {
    prefix,
    kind: "unicast",
    origin: "other",
    table: "other",
  });
});

test("what neither IPv4 nor IPv6 says is skipped", () => {
  const ofMpls = (hex: string): Uint8Array => bytesOf(`1c${hex.slice(2)}`);
  assert.equal(decodeAddress(ofMpls(IPV4_ADDRESS)), undefined);
  assert.equal(decodeRoute(ofMpls(IPV4_ROUTE_REPLY.slice(32))), undefined);
});

test("an ack, a refusal that repeats its request, and one with the kernel's words", () => {
  const verdictOf = (hex: string): unknown => {
    const [message] = decodeMessages(bytesOf(hex));
    return message && decodeVerdict(message);
  };
  assert.deepEqual(verdictOf("24000000020000016979046bba11000000000000280000001c0005056979046b00000000"), {
    errno: 0,
    text: "",
  });
  assert.deepEqual(
    verdictOf(
      "3c000000020000006979046bda120000feffffff280000001d0005006979046b000000000700000004000000c00004000a0002005254001234560000",
    ),
    { errno: 2, text: "" },
  );
  const words = Buffer.from("no\0\0").toString("hex");
  assert.deepEqual(
    verdictOf(`2c000000020000036979046b00000000eaffffff280000001d0005006979046b0000000007000100${words}`),
    { errno: 22, text: "no" },
  );
});

test("a number that does not fit its attribute is refused when the message is finished", () => {
  assert.throws(() => encodeRequest({ op: "setLink", ifindex: 1, change: { mtu: -1 } }), {
    name: "SwitchoverError",
    reason: "NETLINK_UNENCODABLE",
  });
});

test("a batch holds its messages back to back, at most 64 in a send", () => {
  const batch = encodeBatch(Array.from({ length: 65 }, (_, ifindex) => ({ op: "deleteLink", ifindex })));
  assert.deepEqual(
    batch.datagrams.map(({ requests, offsets, bytes }) => [requests.length, offsets.at(-1), bytes.length]),
    [
      [64, 63 * 32, 64 * 32],
      [1, 0, 32],
    ],
  );
});

test("a request for a dump is a send of its own", () => {
  const dump = { op: "getAddresses", ifindex: 4 } as const;
  const plain = { op: "deleteLink", ifindex: 4 } as const;
  const opsOf = (requests: readonly RouteRequest[]): unknown =>
    encodeBatch(requests).datagrams.map((datagram) => datagram.requests.map(({ op }) => op).join(" "));
  assert.deepEqual(opsOf([plain, plain, dump, dump, plain]), [
    "deleteLink deleteLink",
    "getAddresses",
    "getAddresses",
    "deleteLink",
  ]);
  assert.deepEqual(opsOf([dump]), ["getAddresses"]);
  assert.deepEqual(opsOf([]), []);
});

function sent(bytes: Uint8Array): string {
  patchSequence(new DataView(bytes.buffer, bytes.byteOffset), 0, SEQUENCE);
  return Buffer.from(bytes).toString("hex");
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}
