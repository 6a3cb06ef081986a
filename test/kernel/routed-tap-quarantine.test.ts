import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import type { RoutedTapNic } from "../../agent/device/routed-tap/definition.ts";
import type { DeviceFactory } from "../../agent/device/tap-creation.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, routedNic, tapNic } from "./guest-nics.ts";
import { deviceNames, eventually, routedOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { addWorld, fromGuest, inRoutingHost } from "./routing-host.ts";
import { addBridge, TapEnd } from "./tap-end.ts";

const PREPARED = "tap0 - down none";
const STOPPED = "tap0 - up none";
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a routed tap in quarantine", options, () => {
  it("is ours where there was none, and has the same gateway's address on every host", () =>
    inRoutingHost((host) => {
      const [first] = prepareNics(host, [routedNic(0)]);
      const [second] = prepareNics(host, [routedNic(0)]);
      assert.equal(routedOf("tap0"), PREPARED);
      assert.deepEqual(first?.ownership, { device: "created", port: "existing" });
      assert.deepEqual(second, first);
      assert.match(run("ip", "link", "show", "dev", "tap0"), /link\/ether fe:54:00:00:00:01 /);
    }));

  it("has lost what an existing tap had, but not its own address", () =>
    inRoutingHost((host) => {
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "address", "ee:ee:ee:ee:ee:ee", "up");
      run("ip", "addr", "add", "169.254.0.1/32", "dev", "tap0");
      run("ip", "addr", "add", "fe80::1/64", "dev", "tap0", "nodad");
      run("ip", "route", "add", "192.0.2.7/32", "dev", "tap0");
      run("ip", "route", "add", "2001:db8::7/128", "dev", "tap0");
      const [prepared] = prepareNics(host, [routedNic(0)]);
      assert.deepEqual(prepared?.ownership, { device: "existing", port: "existing" });
      assert.equal(routedOf("tap0"), PREPARED);
      assert.match(run("ip", "link", "show", "dev", "tap0"), /link\/ether ee:ee:ee:ee:ee:ee /);
    }));

  it("takes the guest's address from a tap that has it", () =>
    inRoutingHost((host) => {
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "address", macOf(0));
      prepareNics(host, [routedNic(0)]);
      assert.match(run("ip", "link", "show", "dev", "tap0"), /link\/ether fe:54:00:00:00:01 /);
    }));

  it("gets no frame, of the host or through it, before its guest starts (trap 8)", () =>
    inRoutingHost(async (host) => {
      const control = new TapEnd("control");
      prepareNics(host, [routedNic(0)]);
      const guest = new TapEnd("tap0");
      run("ip", "link", "set", "control", "up");
      await eventually("the control's own frames", () => (control.frames().length > 0 ? true : undefined));
      const world = addWorld();
      world.sendToGuest("early");
      await eventually("the host's answer", () => (world.unreachable() ? true : undefined));
      assert.deepEqual(guest.frames(), []);
      for (const end of [guest, control, world]) end.close();
    }));

  it("routes nothing that a VMM writes", () =>
    inRoutingHost((host) => {
      prepareNics(host, [routedNic(0)]);
      const world = addWorld();
      const guest = new TapEnd("tap0");
      assert.throws(() => guest.sendFrame(fromGuest("early")), { code: "EIO" });
      assert.deepEqual(world.texts(), []);
      for (const end of [guest, world]) end.close();
    }));
});

describe("what cannot work", options, () => {
  it("is refused with its field, and nothing is changed", () =>
    inRoutingHost((host) => {
      addBridge("br0");
      run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      run("ip", "tuntap", "add", "tap1", "mode", "tap");
      run("ip", "link", "set", "tap1", "master", "br0");
      run("ip", "tuntap", "add", "tun2", "mode", "tun");
      const before = deviceNames();
      const nics = [
        { ...routedNic(0), deviceName: "v0" },
        routedNic(1),
        { ...routedNic(2), deviceName: "tun2" },
        { ...routedNic(3), deviceName: "br0" },
      ];
      assert.deepEqual(
        preflightNics(host.route, nics).map(({ reason, field }) => `${reason} ${field}`),
        [
          "NOT_A_TAP nics[0].routed_tap.device_name",
          "PORT_OF_ANOTHER nics[1].routed_tap.device_name",
          "NOT_A_TAP nics[2].routed_tap.device_name",
          "NOT_A_TAP nics[3].routed_tap.device_name",
        ],
      );
      assert.throws(
        () => prepareNics(host, nics),
        (thrown) => thrown instanceof SwitchoverError && thrown.code === "FAILED_PRECONDITION",
      );
      assert.equal(deviceNames(), before);
    }));

  it("is an IPv6 address or route where the host has IPv6 disabled", () =>
    inRoutingHost((host) => {
      const before = deviceNames();
      run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
      const refusalsOf = (nic: RoutedTapNic) =>
        preflightNics(host.route, [nic]).map(({ reason, field }) => `${reason} ${field}`);
      assert.deepEqual(refusalsOf(routedNic(0)), ["IPV6_DISABLED nics[0].routed_tap.host_addresses[1]"]);
      assert.deepEqual(refusalsOf(routedNic(0, { hostAddresses: [] })), [
        "IPV6_DISABLED nics[0].routed_tap.routes[1]",
      ]);
      const onlyIPv4 = routedNic(0, { hostAddresses: ["169.254.0.1/32"], routes: ["192.0.2.7/32"] });
      assert.deepEqual(refusalsOf(onlyIPv4), []);
      // Only taps that come have it disabled.
      run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=1");
      const creations: string[] = [];
      const factory: DeviceFactory = {
        ...host.factory,
        create: (creation) => void creations.push(creation.deviceName),
      };
      assert.throws(() => prepareNics({ ...host, factory }, [routedNic(0)]), {
        code: "FAILED_PRECONDITION",
        reason: "IPV6_DISABLED",
        field: "nics[0].routed_tap.host_addresses[1]",
      });
      assert.deepEqual(creations, []);
      assert.equal(deviceNames(), before);
      prepareNics(host, [onlyIPv4]);
      assert.equal(armNicSet(host.route, [onlyIPv4], clockUs).start().result, "started");
    }));

  it("is no IPv6 address where only devices that are there have IPv6 disabled", () =>
    inRoutingHost((host) => {
      run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=0");
      prepareNics(host, [routedNic(0)]);
      assert.equal(armNicSet(host.route, [routedNic(0)], clockUs).start().result, "started");
    }));

  it("leaves the host as it was when it fails half way", () =>
    inRoutingHost((host) => {
      run("ip", "tuntap", "add", "tap0", "mode", "tap");
      run("ip", "link", "set", "tap0", "up");
      const before = routedOf("tap0");
      const factory = {
        create(): void {
          throw new SwitchoverError("UNAVAILABLE", "No more taps.", { reason: "ENOSPC" });
        },
      };
      const nics = [routedNic(0), routedNic(1)];
      assert.throws(() => prepareNics({ route: host.route, factory }, nics), { reason: "ENOSPC" });
      assert.deepEqual([deviceNames(), routedOf("tap0")], ["lo tap0", before]);
    }));

  it("undoes every NIC's start where one of another type cannot start", () =>
    inRoutingHost((host) => {
      addBridge("br0");
      const nics = [routedNic(0), tapNic(1)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      run("ip", "link", "set", "tap1", "nomaster");
      assert.equal(set.start().result, "failed");
      assert.equal(routedOf("tap0"), STOPPED);
    }));
});

it("releasing deletes what was created, and leaves what was found down and without addresses", options, () =>
  inRoutingHost((host) => {
    run("ip", "tuntap", "add", "tap1", "mode", "tap");
    const nics = [routedNic(0), routedNic(1)];
    const ownerships = new Map(prepareNics(host, nics).map(({ nicId, ownership }) => [nicId, ownership]));
    armNicSet(host.route, nics, clockUs).start();
    assert.deepEqual(releaseNics(host.route, nics, ownerships, "delete"), [
      { nicId: "net0" },
      { nicId: "net1" },
    ]);
    assert.equal(deviceNames(), "lo tap1");
    assert.equal(routedOf("tap1"), "tap1 - down none");
  }),
);
