import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Occasion } from "../../agent/device/device.ts";
import type { NicDefinition as Nic } from "../../agent/device/nic-definition.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { routedTap } from "../../agent/device/routed-tap/device-type.ts";
import type { DeviceFactory } from "../../agent/device/tap-creation.ts";
import { parseNics, toNicMessage } from "../../agent/instance/nic-message.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { Link } from "../../agent/netlink/link.ts";
import { NicDefinition, type RoutedTap } from "../../proto/gen/switchover/v1/nic.ts";
import { parseIpPrefix } from "../../proto/ip-prefix.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const PLAIN: RoutedTap = {
  deviceName: "tap0",
  hostAddresses: ["169.254.0.1/32", "fe80::1/64"],
  routes: ["192.0.2.7/32", "2001:db8::7/128"],
};
const RUNNING = [
  "169.254.0.1/32 on tap0",
  "fe80::1/64 on tap0",
  "192.0.2.7/32 by tap0",
  "2001:db8::7/128 by tap0",
].join("\n");

function messageOf(change: Partial<RoutedTap>) {
  return NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: "52:54:00:00:00:01",
    device: { $case: "routedTap", value: { ...PLAIN, ...change } },
  });
}

describe("the definition of a routed tap", () => {
  it("is in the contract with its prefixes in their one form", () => {
    const nics = parseNics([messageOf({ routes: ["2001:DB8:0::7/128"] })]);
    assert.deepEqual(nics.map(toNicMessage), [messageOf({ routes: ["2001:db8::7/128"] })]);
    assert.deepEqual(parseNics(nics.map(toNicMessage)), nics);
    assert.equal(parseNics([messageOf({ hostAddresses: [], routes: [] })]).length, 1);
  });

  for (const [what, change, reason, field] of [
    ["a device name with a slash", { deviceName: "a/b" }, "MALFORMED", "device_name"],
    ["a route that is no prefix", { routes: ["192.0.2.7/32", "home"] }, "MALFORMED", "routes[1]"],
    ["a route without a length", { routes: ["192.0.2.7"] }, "MALFORMED", "routes[0]"],
    ["a route with host bits", { routes: ["192.0.2.7/24"] }, "HOST_BITS_SET", "routes[0]"],
    ["the default route", { routes: ["0.0.0.0/0"] }, "DEFAULT_ROUTE", "routes[0]"],
    ["the default route of IPv6", { routes: ["::/0"] }, "DEFAULT_ROUTE", "routes[0]"],
    ["a route twice", { routes: ["192.0.2.7/32", "192.0.2.7/32"] }, "DUPLICATE", "routes[1]"],
    [
      "a route twice in other words",
      { routes: ["2001:db8::/64", "2001:DB8:0::/64"] },
      "DUPLICATE",
      "routes[1]",
    ],
    ["a route within another", { routes: ["192.0.2.7/32", "192.0.2.0/24"] }, "DUPLICATE", "routes[0]"],
    ["a multicast route", { routes: ["224.0.0.0/4"] }, "MALFORMED", "routes[0]"],
    ["a loopback route", { routes: ["127.0.0.0/8"] }, "MALFORMED", "routes[0]"],
    [
      "the host's address as a route",
      { hostAddresses: ["10.1.0.1/24"], routes: ["10.1.0.1/32"] },
      "MALFORMED",
      "routes[0]",
    ],
    ["an address that is none", { hostAddresses: ["10.1.0.300/24"] }, "MALFORMED", "host_addresses[0]"],
    ["nobody's address", { hostAddresses: ["0.0.0.0/8"] }, "MALFORMED", "host_addresses[0]"],
    ["a group's address", { hostAddresses: ["fe80::1/64", "ff02::1/128"] }, "MALFORMED", "host_addresses[1]"],
    ["the whole world as neighbours", { hostAddresses: ["10.1.0.1/0"] }, "MALFORMED", "host_addresses[0]"],
    ["an address twice", { hostAddresses: ["10.1.0.1/24", "10.1.0.1/32"] }, "DUPLICATE", "host_addresses[1]"],
    [
      "more than 64 routes",
      { routes: Array.from({ length: 65 }, (_, index) => `192.0.2.${index}/32`) },
      "MALFORMED",
      "routes",
    ],
    [
      "more than 64 addresses",
      { hostAddresses: Array.from({ length: 65 }, (_, index) => `10.0.0.${index + 1}/32`) },
      "MALFORMED",
      "host_addresses",
    ],
  ] as const) {
    it(`is refused for ${what}`, () => {
      const message = messageOf({ hostAddresses: [], ...(change as Partial<RoutedTap>) });
      assert.throws(() => parseNics([message]), {
        code: "INVALID_ARGUMENT",
        reason,
        field: `nics[0].routed_tap.${field}`,
      });
    });
  }
});

it("two NICs of a guest do not have one route", () => {
  const first = messageOf({ routes: ["192.0.2.7/32"] });
  const second = (route: string) => ({
    ...messageOf({ deviceName: "tap1", routes: ["192.0.2.9/32", route] }),
    nicId: "net1",
  });
  assert.equal(parseNics([first, second("192.0.2.8/32")]).length, 2);
  assert.throws(() => parseNics([first, second("192.0.2.7/32")]), {
    code: "INVALID_ARGUMENT",
    reason: "DUPLICATE",
    field: "nics[1].routed_tap.routes[1]",
  });
});

describe("a routed tap on a pretended kernel", () => {
  const nics = parseNics([messageOf({})]);

  it("goes the whole way from nothing to nothing", () => {
    const kernel = new PretendedKernel();
    const ownerships = new Map(
      prepareNics({ route: kernel, factory: kernel }, nics).map(({ nicId, ownership }) => [nicId, ownership]),
    );
    assert.equal(kernel.renderRouting(), "");
    assert.deepEqual(verifyNics(kernel, nics), [{ registration: "quarantined" }]);
    const set = armNicSet(kernel, nics, () => 0);
    assert.equal(set.start().result, "started");
    assert.equal(kernel.renderRouting(), RUNNING);
    assert.deepEqual(verifyNics(kernel, nics), [{ registration: "registered" }]);
    assert.equal(set.stop().result, "stopped");
    assert.equal(kernel.renderRouting(), "");
    assert.deepEqual(releaseNics(kernel, nics, ownerships, "delete"), [{ nicId: "net0" }]);
    assert.equal(kernel.link("tap0"), undefined);
  });

  it("is refused where the host has IPv6 disabled, by what needs it, before anything is made", () => {
    const host = (loopback: Partial<Link>) => {
      const kernel = new PretendedKernel();
      kernel.addParent("lo");
      kernel.change("lo", loopback);
      return kernel;
    };
    const [nic] = nics;
    assert.ok(nic?.type === "routedTap");
    const onlyIPv4 = { ...nic, hostAddresses: nic.hostAddresses.slice(0, 1), routes: nic.routes.slice(0, 1) };
    const kernel = host({ ipv6: "disabled" });
    const refusalsOf = (wanted: Nic, occasion?: Occasion) =>
      preflightNics(kernel, [wanted], undefined, {}, occasion).map(
        ({ reason, field }) => `${reason} ${field}`,
      );
    assert.deepEqual(refusalsOf(nic), ["IPV6_DISABLED nics[0].routed_tap.host_addresses[1]"]);
    assert.deepEqual(refusalsOf({ ...nic, hostAddresses: [] }, "arrive"), [
      "IPV6_DISABLED nics[0].routed_tap.routes[1]",
    ]);
    assert.deepEqual(refusalsOf(nic, "leave"), []);
    assert.deepEqual(refusalsOf(onlyIPv4), []);
    kernel.create({ deviceName: nic.deviceName });
    assert.deepEqual(refusalsOf(nic), [], "an existing tap has its own settings");
    kernel.change(nic.deviceName, { ipv6: "disabled" });
    assert.equal(refusalsOf(nic).length, 1);
  });

  it("is refused by what a tap would have that is to be made, and not by what other devices have", () => {
    for (const [loopback, ipv6] of [
      ["enabled", "disabled"],
      ["disabled", "enabled"],
    ] as const) {
      const kernel = new PretendedKernel();
      kernel.addParent("lo");
      if (loopback === "disabled") kernel.change("lo", { ipv6: "disabled" });
      const made: string[] = [];
      const factory: DeviceFactory = {
        create: (creation) => {
          made.push(creation.deviceName);
          kernel.create(creation);
        },
        inherited: () => ({ ipv6 }),
      };
      const prepare = () => prepareNics({ route: kernel, factory }, nics);
      if (ipv6 === "enabled") prepare();
      else assert.throws(prepare, { code: "FAILED_PRECONDITION", reason: "IPV6_DISABLED" });
      assert.equal(made.length, ipv6 === "enabled" ? nics.length : 0);
    }
  });

  it("is mended to what its gate says, from either side", () => {
    const kernel = new PretendedKernel();
    prepareNics({ route: kernel, factory: kernel }, nics);
    assert.deepEqual(mendNics(kernel, nics, new Map(), "registered"), []);
    assert.equal(kernel.renderRouting(), RUNNING);
    assert.equal(findDrift(kernel, nics, "quarantined").length, 1);
    assert.deepEqual(mendNics(kernel, nics, new Map(), "quarantined"), []);
    assert.equal(kernel.renderRouting(), "");
  });

  it("hears what others do to it, and neither its own gate nor others' devices", () => {
    const [nic] = nics;
    assert.ok(nic?.type === "routedTap");
    const place = { deviceIfindex: 7, parentIfindex: 0 };
    const hear = (change: KernelChange, registered: "registered" | "quarantined") =>
      routedTap.mend.hear(nic, place, change, registered);
    const change = (kind: "addressChanged" | "addressRemoved", ifindex: number, text: string) =>
      ({ kind, address: { ifindex, address: parseIpPrefix(text, "") } }) as const;
    assert.equal(hear(change("addressChanged", 7, "fe80::1/64"), "registered"), "agrees");
    assert.equal(hear(change("addressRemoved", 7, "fe80::1/64"), "quarantined"), "agrees");
    assert.equal(hear(change("addressRemoved", 7, "fe80::1/64"), "registered"), "mayDiffer");
    assert.equal(hear(change("addressChanged", 7, "fe80::1/64"), "quarantined"), "mayDiffer");
    assert.equal(hear(change("addressRemoved", 8, "fe80::1/64"), "registered"), "agrees");
    assert.equal(hear(change("addressRemoved", 7, "10.9.9.9/32"), "registered"), "agrees");
    assert.equal(hear({ kind: "linkRemoved", ifindex: 7, name: "tap0" }, "registered"), "mayDiffer");
    assert.equal(hear({ kind: "linkRemoved", ifindex: 8, name: "tap1" }, "registered"), "agrees");
    assert.equal(hear({ kind: "overrun" }, "registered"), "mayDiffer");
  });
});
