import assert from "node:assert/strict";
import { SocketAddress } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { ipAddressBytes, ipAddressFromBytes, parseIpAddress } from "../../proto/ip-address.ts";

test("an IP address is read in any of its forms and written in one (RFC 5952)", () => {
  for (const [text, canonical] of [
    ["10.0.0.1", "10.0.0.1"],
    ["FD00:0:0:0:0:0:0:1", "fd00::1"],
    ["::", "::"],
    ["::1", "::1"],
    ["ff02::", "ff02::"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ] as const) {
    assert.equal(parseIpAddress(text, "address"), canonical);
  }
});

test("what is no IP address, and an address with a zone, is refused with its field", () => {
  for (const text of ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "1::2::3", "52:54:00:12:34:56"]) {
    assert.throws(() => parseIpAddress(text, "vxlan.vtep_address"), {
      code: "INVALID_ARGUMENT",
      reason: "MALFORMED",
      field: "vxlan.vtep_address",
    });
  }
});

test("an address is its bytes and back, as the system itself writes it", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc
      .array(fc.constantFrom(0, 0, 1, 255), { minLength: 16, maxLength: 16 })
      .map((list) => Uint8Array.from(list)),
  );
  fc.assert(
    fc.property(bytes, (some) => {
      const address = ipAddressFromBytes(some);
      assert.deepEqual(ipAddressBytes(address), some);
      assert.equal(parseIpAddress(address, ""), address);
      // The system writes what looks like an embedded IPv4 address with dots.
      const family = some.length === 4 ? "ipv4" : "ipv6";
      const { address: written } = new SocketAddress({ address, family });
      if (!written.includes(".") || family === "ipv4") assert.equal(address, written);
    }),
  );
});
