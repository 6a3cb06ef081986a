import assert from "node:assert/strict";
import { test } from "node:test";
import { Script } from "node:vm";
import fc from "fast-check";
import { decodeAddress } from "../../agent/netlink/address.ts";
import { decodeLink } from "../../agent/netlink/link-decoder.ts";
import { decodeMessages, decodeVerdict } from "../../agent/netlink/message.ts";
import { decodeMulticastEntries, type MulticastGroup } from "../../agent/netlink/multicast.ts";
import { decodeFdbEntry } from "../../agent/netlink/neighbour.ts";
import { decodePortVlans } from "../../agent/netlink/port-vlan.ts";
import { decodeRoute } from "../../agent/netlink/route.ts";
import { encodeRequest } from "../../agent/netlink/route-request.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { ipAddressFromBytes } from "../../proto/ip-address.ts";
import { ipPrefixFromBytes } from "../../proto/ip-prefix.ts";
import { macAddressFromBytes } from "../../proto/mac-address.ts";
import {
  BRIDGE_PORT_REPLY,
  GROUP_REPLY,
  IPV4_ROUTE_REPLY,
  IPV6_ADDRESS,
  IPV6_ROUTE_REPLY,
  VXLAN_VNI_REPLY,
} from "./netlink-captured.ts";

/** How many buffers each test decodes; more than a run of all tests has time for, where somebody asks for them. */
const RUNS = Number(process.env.SWITCHOVER_FUZZ_RUNS ?? 5000);
/** A buffer of 512 bytes decodes in microseconds: what takes so long of a CPU does not end. */
const DEADLINE_MS = 1000;
const MAX_MEAN_MS = 4;

const FDB_REPLY =
  "4c0000001c0000006979046be41100000700000004000000400040000a0002005254001234560000" +
  "080009000200000008000f00000000001400030000000000080000000800000000000000";

/** An RTM_NEWVLAN of port 3: VLAN 7, and 20 to 22 as a range (linux/if_bridge.h). */
const VLAN_REPLY =
  "3800000070000000000000000000000007000000030000000c0001800800010006000700" +
  "1400018008000100000014000600020016000000";

/** Decodes a datagram as every kind of answer; lets nothing pass but a decoder's own error. */
function decodeAll(datagram: Uint8Array): void {
  for (const decode of [
    () => decodeMessages(datagram).forEach((message) => void decodeVerdict(message)),
    () => decodeMessages(datagram).forEach((message) => void decodeLink(message.payload)),
    () => decodeMessages(datagram).forEach((message) => void decodeFdbEntry(message.payload)),
    () => decodeMessages(datagram).forEach((message) => void decodeAddress(message.payload)),
    () => decodeMessages(datagram).forEach((message) => void decodeRoute(message.payload)),
    () => decodeMessages(datagram).forEach((message) => void decodeMulticastEntries(message.payload)),
    () => decodeMessages(datagram).forEach((message) => void decodePortVlans(message.payload)),
    () => decodeLink(datagram),
    () => decodeAddress(datagram),
    () => decodeRoute(datagram),
    () => decodeFdbEntry(datagram),
    () => decodeMulticastEntries(datagram),
    () => decodePortVlans(datagram),
  ]) {
    try {
      decode();
    } catch (thrown) {
      if (!(thrown instanceof SwitchoverError) || thrown.reason !== "NETLINK_MALFORMED") throw thrown;
    }
  }
}

let current: Uint8Array = new Uint8Array();

/** Fails where a buffer takes long to decode, whatever else the machine does meanwhile. */
function decodeInTime(datagram: Uint8Array): void {
  current = datagram;
  const before = process.cpuUsage();
  decodeAll(datagram);
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 1000 < DEADLINE_MS);
}

/** Fails, naming the buffer, where one never comes to an end: while it is decoded no timer fires, and a script's does. */
function assertEndsFor(property: Parameters<typeof fc.assert>[0]): void {
  Object.assign(globalThis, { decodeThemAll: () => fc.assert(property, { numRuns: RUNS }) });
  try {
    new Script("decodeThemAll()").runInThisContext({ timeout: DEADLINE_MS + RUNS * MAX_MEAN_MS });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw thrown;
    assert.fail(`It never ends: ${Buffer.from(current).toString("hex")}`);
  }
}

test("random bytes decode to data or to a decoder's error, in time", () => {
  assertEndsFor(fc.property(fc.uint8Array({ maxLength: 512, size: "max" }), decodeInTime));
});

for (const [name, hex] of [
  ["link", BRIDGE_PORT_REPLY],
  ["forwarding entry", FDB_REPLY],
  ["address", `48000000140000000000000000000000${IPV6_ADDRESS}`],
  ["route of IPv4", IPV4_ROUTE_REPLY],
  ["route of IPv6", IPV6_ROUTE_REPLY],
  ["VXLAN entry", VXLAN_VNI_REPLY],
  ["multicast group", GROUP_REPLY],
  ["port's VLANs", VLAN_REPLY],
] as const) {
  test(`a damaged ${name} decodes to data or to a decoder's error, in time`, () => {
    const whole = Uint8Array.from(Buffer.from(hex, "hex"));
    const damage = fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), {
      maxLength: 8,
    });
    assertEndsFor(
      fc.property(damage, fc.nat({ max: whole.length }), (changes, cut) => {
        const damaged = whole.slice(0, cut === 0 ? whole.length : cut);
        for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
        decodeInTime(damaged);
        decodeInTime(damaged.subarray(16));
      }),
    );
  });
}

test("what is encoded for an entry reads back as that entry", () => {
  const entries = fc.record({
    ifindex: fc.integer({ min: 1, max: 0x7fff_ffff }),
    mac: fc.uint8Array({ minLength: 6, maxLength: 6 }),
    vlan: fc.option(fc.integer({ min: 1, max: 4094 }), { nil: undefined }),
    sticky: fc.constantFrom("sticky" as const, "plain" as const),
  });
  fc.assert(
    fc.property(entries, ({ ifindex, mac, vlan, sticky }) => {
      const macAddress = macAddressFromBytes(mac);
      const key = { ifindex, macAddress, ...(vlan === undefined ? {} : { vlan }) };
      const bytes = encodeRequest({ op: "replaceFdbEntry", ...key, sticky });
      assert.deepEqual(decodeFdbEntry(bytes.subarray(16)), { ...key, state: "static", sticky });
    }),
    { numRuns: 1000 },
  );
});

test("what is encoded for an address or a route reads back as that", () => {
  const prefixes = fc
    .constantFrom(4, 16)
    .chain((count) =>
      fc.tuple(fc.uint8Array({ minLength: count, maxLength: count }), fc.nat({ max: count * 8 })),
    )
    .map(([bytes, length]) => ipPrefixFromBytes(bytes, length));
  const ifindexes = fc.integer({ min: 1, max: 0x7fff_ffff });
  fc.assert(
    fc.property(ifindexes, prefixes, (ifindex, prefix) => {
      const address = encodeRequest({ op: "replaceAddress", ifindex, address: prefix });
      assert.deepEqual(decodeAddress(address.subarray(16)), { ifindex, address: prefix });
      const route = encodeRequest({ op: "replaceRoute", ifindex, prefix });
      const expected = { prefix, kind: "unicast", origin: "other", table: "main", ifindex };
      assert.deepEqual(decodeRoute(route.subarray(16)), expected);
    }),
    { numRuns: 1000 },
  );
});

test("what is encoded for a group is that group's in the kernel's structure", () => {
  const address = (length: number, first: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => {
      bytes[0] = first;
      return bytes;
    });
  const groups = fc.oneof(
    address(4, 239).map((bytes) => [ipAddressFromBytes(bytes) as string, bytes, "0800"] as const),
    address(16, 255).map((bytes) => [ipAddressFromBytes(bytes) as string, bytes, "86dd"] as const),
    address(6, 1).map((bytes) => [macAddressFromBytes(bytes) as string, bytes, "0000"] as const),
  );
  fc.assert(
    fc.property(groups, ([group, bytes, protocol]) => {
      const key = { bridgeIfindex: 2, group: group as MulticastGroup };
      const request = Buffer.from(encodeRequest({ op: "getGroupEntry", ...key }));
      const padded = Buffer.from(bytes).toString("hex").padEnd(32, "0");
      assert.equal(request.subarray(36).toString("hex"), `${padded}${protocol}0000`);
    }),
    { numRuns: 1000 },
  );
});
