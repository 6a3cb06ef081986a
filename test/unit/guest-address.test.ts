import assert from "node:assert/strict";
import { test } from "node:test";
import { parseGuestAddresses } from "../../agent/device/guest-addresses.ts";
import { parseNics, toNicMessage } from "../../agent/instance/nic-message.ts";
import { NicDefinition, UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { guestAddressBytes, parseGuestAddress } from "../../proto/guest-address.ts";

test("a guest's address is kept in one form, and has the bytes that go on the wire", () => {
  for (const [text, canonical, hex] of [
    ["10.78.0.5", "10.78.0.5", "0a4e0005"],
    ["2001:DB8:0:0:0:0:0:5", "2001:db8::5", "20010db8000000000000000000000005"],
    ["fe80::5054:ff:fe12:3456", "fe80::5054:ff:fe12:3456", "fe80000000000000505400fffe123456"],
    ["2001:db8::", "2001:db8::", "20010db8000000000000000000000000"],
    ["::2:0", "::2:0", "00000000000000000000000000020000"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["64:ff9b::10.78.0.5", "64:ff9b::a4e:5", "0064ff9b00000000000000000a4e0005"],
  ] as const) {
    const address = parseGuestAddress(text, "a");
    assert.equal(address, canonical);
    assert.equal(Buffer.from(guestAddressBytes(address)).toString("hex"), hex);
  }
});

test("what is no guest's own address is refused with its reason", () => {
  for (const [text, reason] of [
    ["", "MALFORMED"],
    ["10.0.0", "MALFORMED"],
    ["10.0.0.5/24", "MALFORMED"],
    ["010.0.0.5", "MALFORMED"],
    ["fe80::1%eth0", "MALFORMED"],
    ["2001:db8::/64", "MALFORMED"],
    ["web.example", "MALFORMED"],
    ["x".repeat(5_000), "MALFORMED"],
    ["0.0.0.0", "ADDRESS_UNSPECIFIED"],
    ["::", "ADDRESS_UNSPECIFIED"],
    ["127.8.0.1", "ADDRESS_LOOPBACK"],
    ["::1", "ADDRESS_LOOPBACK"],
    ["224.0.0.1", "ADDRESS_MULTICAST"],
    ["239.255.255.255", "ADDRESS_MULTICAST"],
    ["ff02::1", "ADDRESS_MULTICAST"],
    ["255.255.255.255", "ADDRESS_BROADCAST"],
    ["::ffff:10.0.0.5", "ADDRESS_IPV4_MAPPED"],
  ] as const) {
    assert.throws(() => parseGuestAddress(text, "f"), { code: "INVALID_ARGUMENT", reason, field: "f" }, text);
  }
});

test("a NIC has at most 64 addresses, each once however it is written", () => {
  const many = Array.from({ length: 64 }, (_, index) => `10.0.0.${index + 1}`);
  assert.deepEqual(parseGuestAddresses(many, "a"), many);
  assert.throws(() => parseGuestAddresses([...many, "10.0.1.1"], "a"), {
    code: "INVALID_ARGUMENT",
    field: "a",
  });
  assert.throws(() => parseGuestAddresses(["2001:db8::5", "2001:DB8::0:5"], "a"), {
    reason: "DUPLICATE",
    field: "a[1]",
  });
});

test("a NIC's definition names its addresses, and says nothing of them where there are none", () => {
  const message = NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: "52:54:00:00:00:01",
    guestAddresses: ["10.0.0.5", "2001:db8::5"],
    device: { $case: "unmanaged", value: { kind: UnmanagedKind.USER } },
  });
  const [nic] = parseNics([message]);
  assert.ok(nic);
  assert.deepEqual(nic.guestAddresses, ["10.0.0.5", "2001:db8::5"]);
  assert.deepEqual(toNicMessage(nic), message);
  const [without] = parseNics([{ ...message, guestAddresses: [] }]);
  assert.ok(without && !("guestAddresses" in without));
  assert.deepEqual(toNicMessage(without).guestAddresses, []);
  assert.throws(() => parseNics([{ ...message, guestAddresses: ["10.0.0.5", "ff02::1"] }]), {
    reason: "ADDRESS_MULTICAST",
    field: "nics[0].guest_addresses[1]",
  });
});
