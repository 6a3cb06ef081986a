import assert from "node:assert/strict";
import * as net from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import {
  containsPrefix,
  ipPrefixFromBytes,
  ipPrefixParts,
  isNetwork,
  parseIpPrefix,
} from "../../proto/ip-prefix.ts";

test("a prefix is read in all forms of its address, and written in one", () => {
  for (const [text, canonical] of [
    ["192.0.2.7/32", "192.0.2.7/32"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["2001:DB8:0:0:0:0:0:7/128", "2001:db8::7/128"],
    ["2001:0db8::0007/64", "2001:db8::7/64"],
    ["::/0", "::/0"],
    ["::1/128", "::1/128"],
    ["fe80::/64", "fe80::/64"],
    ["1:0:0:2:0:0:0:3/128", "1:0:0:2::3/128"],
    ["1:0:2:3:4:5:6:7/128", "1:0:2:3:4:5:6:7/128"],
    ["::ffff:192.0.2.7/128", "::ffff:c000:207/128"],
  ] as const) {
    assert.equal(parseIpPrefix(text, "routes[0]"), canonical);
  }
});

test("what is no address with a prefix length is refused by its field", () => {
  for (const text of [
    "",
    "192.0.2.7",
    "192.0.2.7/33",
    "192.0.2.7/-1",
    "192.0.2.7/032",
    "192.0.2/24",
    "192.0.2.256/32",
    "2001:db8::7/129",
    "2001:db8::7::/64",
    "fe80::1%eth0/64",
    "192.0.2.7/32 ",
    "www/32",
    `${"1".repeat(10_000)}/1`,
  ]) {
    assert.throws(() => parseIpPrefix(text, "routes[3]"), {
      code: "INVALID_ARGUMENT",
      reason: "MALFORMED",
      field: "routes[3]",
    });
  }
});

test("any address of any length reads back from its text, which is an address to others too", () => {
  const addresses = fc
    .constantFrom(4, 16)
    .chain((count) =>
      fc.tuple(
        fc.array(fc.oneof(fc.constant(0), fc.nat({ max: 255 })), { minLength: count, maxLength: count }),
        fc.nat({ max: count * 8 }),
      ),
    );
  fc.assert(
    fc.property(addresses, ([bytes, length]) => {
      const prefix = ipPrefixFromBytes(Uint8Array.from(bytes), length);
      assert.equal(parseIpPrefix(prefix, ""), prefix);
      const parts = ipPrefixParts(prefix);
      assert.deepEqual([[...parts.bytes], parts.length], [bytes, length]);
      assert.equal(net.isIP(prefix.split("/")[0] ?? ""), bytes.length === 4 ? 4 : 6);
    }),
    { numRuns: 2000 },
  );
});

test("a network has no bits after its prefix, and contains the longer ones that begin like it", () => {
  const prefix = (text: string) => parseIpPrefix(text, "");
  for (const [text, expected] of [
    ["10.1.0.0/16", true],
    ["10.1.0.1/16", false],
    ["10.1.0.0/15", false],
    ["0.0.0.0/0", true],
    ["2001:db8::/33", true],
    ["2001:db8:8000::/33", true],
    ["2001:db8:8000::/32", false],
  ] as const) {
    assert.equal(isNetwork(prefix(text)), expected, text);
  }
  for (const [outer, inner, expected] of [
    ["10.1.0.0/16", "10.1.255.0/24", true],
    ["10.1.0.0/16", "10.1.0.0/16", true],
    ["10.1.0.0/16", "10.2.0.0/24", false],
    ["10.1.0.0/24", "10.1.0.0/16", false],
    ["0.0.0.0/0", "2001:db8::/32", false],
    ["2001:db8::/29", "2001:dbf::/32", true],
  ] as const) {
    assert.equal(containsPrefix(prefix(outer), prefix(inner)), expected, `${inner} in ${outer}`);
  }
});
