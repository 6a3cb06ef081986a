import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { surveyHost } from "../../agent/device/host-survey.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { type HostDevices, preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, macvtapNic, outcomesOf, ownershipsOf, withHost } from "./guest-nics.ts";
import { deviceNames, eventually, linkOf, routedOf } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const OWN = "02:00:00:00:00:e0";
const options = { skip: skipWithout("root"), timeout: 30_000 };

function allLinks(): string {
  return deviceNames().split(" ").map(linkOf).join("\n");
}

/** A host whose physical device is a veth, its far end up, as a switch's port would be. */
function onHost(
  parentState: "up" | "down",
  body: (host: HostDevices) => void | Promise<void>,
): () => Promise<void> {
  return () =>
    inNetworkNamespace(() =>
      withHost(async (host) => {
        run("ip", "link", "add", "eth0", "address", OWN, "type", "veth", "peer", "name", "far0");
        run("ip", "link", "set", "far0", "up");
        run("ip", "link", "set", "eth0", parentState);
        await body(host);
      }),
    );
}

function online(mode: MacvtapNic["mode"], index = 0): string {
  const word = mode === "passthrough" ? "passthru" : mode;
  return `mv${index} on eth0 ${word} up UP ${macOf(index)} none`;
}

function offline(mode: MacvtapNic["mode"], index = 0): string {
  return online(mode, index).replace("up UP", "down DOWN");
}

describe("a macvtap", options, () => {
  for (const mode of ["private", "vepa", "bridge"] as const) {
    it(
      `in ${mode} mode is offline until its guest's CPUs start and after they stop, its parent left up (R3, R5)`,
      onHost("up", (host) => {
        const nics = [macvtapNic(0, { mode })];
        const before = linkOf("eth0");
        const prepared = prepareNics(host, nics);
        assert.equal(linkOf("mv0"), offline(mode));
        assert.equal(prepared[0]?.characterDevice, `/dev/tap${prepared[0]?.ifindex}`);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(outcomesOf(set.start().nics), "net0 started");
        assert.equal(linkOf("mv0"), online(mode));
        assert.equal(linkOf("eth0"), before);
        assert.equal(outcomesOf(set.stop().nics), "net0 removed");
        assert.equal(linkOf("mv0"), offline(mode));
        assert.equal(linkOf("eth0"), before);
        releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
        assert.equal(deviceNames(), "eth0 far0 lo");
        assert.equal(linkOf("eth0"), before);
      }),
    );
  }

  it(
    "in passthrough mode takes its parent down with it and gives it the guest's address, until it is released (R5)",
    onHost("up", (host) => {
      const nics = [macvtapNic(0, { mode: "passthrough" })];
      const before = linkOf("eth0");
      const prepared = prepareNics(host, nics);
      assert.equal(linkOf("mv0"), offline("passthrough"));
      assert.equal(linkOf("eth0"), `eth0 down DOWN ${macOf(0)} none`);
      const set = armNicSet(host.route, nics, clockUs);
      assert.equal(outcomesOf(set.start().nics), "net0 started");
      assert.equal(linkOf("mv0"), online("passthrough"));
      assert.equal(linkOf("eth0"), `eth0 up UP ${macOf(0)} none`);
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(linkOf("mv0"), offline("passthrough"));
      assert.equal(linkOf("eth0"), `eth0 down DOWN ${macOf(0)} none`);
      releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
      assert.equal(deviceNames(), "eth0 far0 lo");
      assert.equal(linkOf("eth0"), before);
    }),
  );

  it(
    "raises a parent that is down, which says so as long as it has guests, and stays up after: the host may use it (R4, R5)",
    onHost("down", (host) => {
      const before = linkOf("eth0");
      const guests = [[macvtapNic(0)], [macvtapNic(1)]] as const;
      const sets = guests.map((nics) => {
        const prepared = prepareNics(host, nics);
        const set = armNicSet(host.route, nics, clockUs);
        assert.equal(set.start().result, "started");
        return { nics, prepared, set };
      });
      assert.match(linkOf("eth0"), /^eth0 up UP 02:00:00:00:00:e0 eui64 switchover-raises-\d+$/);
      assert.equal(linkOf("mv0"), online("bridge"));
      for (const [index, { nics, prepared, set }] of sets.entries()) {
        set.stop();
        releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
        assert.equal(/ switchover-raises-\d+$/.test(linkOf("eth0")), index === 0);
      }
      assert.equal(linkOf("eth0"), before.replace("down DOWN", "up UP"));
    }),
  );

  it(
    "that cannot work, since its parent is down, is not taken for registered (trap 7)",
    onHost("up", (host) => {
      const nics = [macvtapNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "set", "eth0", "down");
      assert.equal(linkOf("mv0"), `mv0 on eth0 bridge up LOWERLAYERDOWN ${macOf(0)} none`);
      const [drift] = findDrift(host.route, nics, "registered");
      assert.equal(drift?.problem.reason, "PARENT_DOWN");
      assert.deepEqual(mendNics(host.route, nics, new Map(), "registered"), []);
      assert.equal(linkOf("mv0"), online("bridge"));
    }),
  );

  it(
    "is not started while another of its address is up on the parent, and the other NICs are undone (trap 7)",
    onHost("up", (host) => {
      const nics = [macvtapNic(0), macvtapNic(1)];
      prepareNics(host, nics);
      run("ip", "link", "add", "rival", "link", "eth0", "address", macOf(1), "type", "macvtap");
      run("ip", "link", "set", "rival", "up");
      const set = armNicSet(host.route, nics, clockUs);
      const report = set.start();
      assert.equal(report.result, "failed");
      assert.equal(outcomesOf(report.nics), "net0 started, net1 failed MAC_IN_USE");
      assert.equal(linkOf("mv0"), offline("bridge"));
      assert.equal(linkOf("mv1"), offline("bridge", 1));
      run("ip", "link", "del", "rival");
      assert.equal(set.start().result, "started");
    }),
  );

  it(
    "is refused before anything changed where it cannot be",
    onHost("up", (host) => {
      addBridge("br0");
      run(
        "ip",
        "link",
        "add",
        "mv9",
        "link",
        "eth0",
        "address",
        macOf(9),
        "type",
        "macvtap",
        "mode",
        "bridge",
      );
      run("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "far1");
      run("ip", "link", "set", "veth1", "master", "br0");
      run("ip", "link", "add", "eth2", "type", "veth", "peer", "name", "far2");
      run("ip", "link", "add", "mvp", "link", "eth2", "type", "macvtap", "mode", "passthru");
      const before = allLinks();
      for (const [change, reason, field] of [
        [{ parent: "none0" }, "PARENT_MISSING", "macvtap.parent"],
        [{ parent: "mv9" }, "PARENT_IS_MACVTAP", "macvtap.parent"],
        [{ parent: "veth1" }, "PARENT_IS_PORT", "macvtap.parent"],
        [{ parent: "eth2" }, "PARENT_IN_USE", "macvtap.parent"],
        [{ mode: "passthrough" }, "PARENT_IN_USE", "macvtap.parent"],
        [{ macAddress: macvtapNic(9).macAddress }, "MAC_IN_USE", "mac_address"],
        [{ macAddress: OWN }, "MAC_OF_PARENT", "mac_address"],
        [{ deviceName: "far1" }, "NOT_A_MACVTAP", "macvtap.device_name"],
        [{ deviceName: "mvp" }, "OTHER_PARENT", "macvtap.device_name"],
        [{ deviceName: "mv9", mode: "vepa" }, "OTHER_MODE", "macvtap.mode"],
      ] as const) {
        const nics = [macvtapNic(0, change as Partial<MacvtapNic>)];
        const [refusal] = preflightNics(host.route, nics);
        assert.equal(`${refusal?.reason} ${refusal?.field}`, `${reason} nics[0].${field}`);
        assert.throws(() => prepareNics(host, nics), { code: "FAILED_PRECONDITION", reason });
      }
      assert.equal(allLinks(), before);
    }),
  );

  for (const [what, reason, arguments_] of [
    ["an IPv4 address", "ADDRESSES", ["addr", "add", "10.7.0.2/24", "dev", "eth0"]],
    ["an IPv6 address", "ADDRESSES", ["addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad"]],
    ["a route and no address", "ROUTES", ["route", "add", "10.8.0.0/16", "dev", "eth0"]],
    ["a route of another table", "ROUTES", ["-6", "route", "add", "default", "dev", "eth0", "table", "7"]],
  ] as const) {
    it(
      `in passthrough mode is refused on a parent by which the host has ${what}, and in bridge mode is not`,
      onHost("up", async (host) => {
        run("ip", ...arguments_);
        // The link-local addresses of both its ends come with routes once nobody else has them.
        await eventually("the kernel's own addresses", () =>
          run("ip", "-6", "addr", "show").includes("tentative") ? undefined : true,
        );
        const before = [allLinks(), routedOf("eth0"), run("ip", "-6", "route", "show", "table", "all")];
        const refused = { code: "FAILED_PRECONDITION", reason: `PARENT_HAS_${reason}` };
        assert.throws(() => prepareNics(host, [macvtapNic(0, { mode: "passthrough" })]), {
          ...refused,
          field: "nics[0].macvtap.parent",
        });
        run("ip", "link", "add", "mv0", "link", "eth0", "type", "macvtap", "mode", "passthru");
        assert.throws(() => prepareNics(host, [macvtapNic(0, { mode: "passthrough" })]), refused);
        run("ip", "link", "del", "mv0");
        assert.deepEqual(
          [allLinks(), routedOf("eth0"), run("ip", "-6", "route", "show", "table", "all")],
          before,
        );
        assert.deepEqual(preflightNics(host.route, [macvtapNic(0)]), []);
      }),
    );
  }

  it(
    "in passthrough mode stands on a parent that has addresses of its link alone, and may leave it whatever it is given later",
    onHost("up", async (host) => {
      await eventually("the kernel's own address", () =>
        / fe80::.*scope link \n/.test(run("ip", "-6", "addr", "show", "dev", "eth0")) ? true : undefined,
      );
      const nics = [macvtapNic(0, { mode: "passthrough" })];
      prepareNics(host, nics);
      assert.equal(armNicSet(host.route, nics, clockUs).start().result, "started");
      run("ip", "addr", "add", "10.7.0.2/24", "dev", "eth0");
      assert.deepEqual(preflightNics(host.route, nics), []);
    }),
  );

  it(
    "that somebody else made is taken offline, given the guest's address, and left there when it is released",
    onHost("up", (host) => {
      run("ip", "link", "add", "mv0", "link", "eth0", "type", "macvtap", "mode", "bridge");
      run("ip", "link", "set", "mv0", "up");
      const nics = [macvtapNic(0)];
      const prepared = prepareNics(host, nics);
      assert.equal(prepared[0]?.ownership.device, "existing");
      assert.equal(linkOf("mv0"), offline("bridge"));
      releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
      assert.equal(linkOf("mv0"), offline("bridge"));
    }),
  );

  it(
    "leaves nothing behind, of its parent neither, where a NIC after it cannot be prepared",
    onHost("up", (host) => {
      run("ip", "link", "add", "eth2", "type", "veth", "peer", "name", "far2");
      const before = allLinks();
      for (const mode of ["bridge", "passthrough"] as const) {
        const nics = [macvtapNic(0, { mode }), macvtapNic(1, { parent: "eth2" })];
        // Somebody else's is there since the host was looked at.
        const survey = surveyHost(host, nics);
        const rival = ["eth2", "type", "macvtap", "mode", "passthru"];
        run("ip", "link", "add", "rival", "link", ...rival);
        assert.throws(() => prepareNics(host, nics, undefined, { survey }), {
          code: "ABORTED",
          reason: "EINVAL",
          field: "nics[1].macvtap",
        });
        run("ip", "link", "del", "rival");
        assert.equal(allLinks(), before);
      }
    }),
  );

  it(
    "that vanished, with its parent or alone, counts as stopped; one made anew under its name is stopped too (trap 4)",
    onHost("up", (host) => {
      const nics = [macvtapNic(0)];
      const prepared = prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      run("ip", "link", "del", "mv0");
      assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone");
      run(
        "ip",
        "link",
        "add",
        "mv0",
        "link",
        "eth0",
        "address",
        macOf(0),
        "type",
        "macvtap",
        "mode",
        "bridge",
      );
      run("ip", "link", "set", "mv0", "addrgenmode", "none", "up");
      assert.equal(outcomesOf(set.stop().nics), "net0 removed");
      assert.equal(linkOf("mv0"), offline("bridge"));
      run("ip", "link", "del", "eth0");
      assert.equal(outcomesOf(set.stop().nics), "net0 alreadyGone");
      assert.equal(verifyNics(host.route, nics)[0]?.registration, "absent");
      const reports = releaseNics(host.route, nics, ownershipsOf(prepared), "delete");
      assert.deepEqual(reports, [{ nicId: "net0" }]);
    }),
  );

  it(
    "whose address or state others change is seen to differ and put right",
    onHost("up", (host) => {
      const nics = [macvtapNic(0)];
      prepareNics(host, nics);
      const set = armNicSet(host.route, nics, clockUs);
      set.start();
      for (const [arguments_, reason] of [
        [["down"], "QUARANTINED"],
        [["address", macOf(7)], "ADDRESS_DIFFERS"],
      ] as const) {
        run("ip", "link", "set", "mv0", ...arguments_);
        assert.equal(findDrift(host.route, nics, "registered")[0]?.problem.reason, reason);
        assert.deepEqual(mendNics(host.route, nics, new Map(), "registered"), []);
        assert.equal(linkOf("mv0"), online("bridge"));
      }
      set.stop();
      run("ip", "link", "set", "mv0", "up");
      assert.equal(findDrift(host.route, nics, "quarantined")[0]?.problem.reason, "REGISTERED");
      assert.deepEqual(mendNics(host.route, nics, new Map(), "quarantined"), []);
      assert.equal(linkOf("mv0"), offline("bridge"));
    }),
  );
});
