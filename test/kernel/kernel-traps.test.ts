import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, withHost } from "./guest-nics.ts";
import { eventually, linkOf } from "./host-state.ts";
import { inNetworkNamespace, run, withAnotherNamespace } from "./in-network-namespace.ts";
import { TRAPS, type TrapRow } from "./kernel-traps.ts";
import { addBridge, addUplink, type TapEnd } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 120_000 };

describe("the kernel's traps, by number and type of device", options, () => {
  for (const row of TRAPS) {
    it(`trap ${row.trap}, ${row.device}: ${row.what}`, () => springs(row));
  }
});

function springs({ nics, cpus, read, before, deed, after }: TrapRow): Promise<void> {
  return inNetworkNamespace(() =>
    withAnotherNamespace((elsewhere) =>
      withHost(async (host) => {
        addBridge("br0");
        const uplink = addUplink("up0", "br0");
        const wire = addWire();
        try {
          await eventually("the wire", () => (linkOf("eth0").startsWith("eth0 up UP") ? true : undefined));
          prepareNics(host, nics);
          const set = armNicSet(host.route, nics, clockUs);
          if (cpus === "run") assert.equal(set.start().result, "started");
          assert.equal(read(), before);
          await deed({ host, nics, set, elsewhere, uplink, wire });
          assert.equal(read(), after);
        } finally {
          uplink.close();
          wire.close();
        }
      }),
    ),
  );
}

/** Makes eth0, a parent for macvtaps, and returns the far end of its wire. */
function addWire(): TapEnd {
  addBridge("switch0");
  run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0");
  for (const name of ["eth0", "far0"]) run("ip", "link", "set", name, "addrgenmode", "none");
  run("ip", "link", "set", "far0", "master", "switch0", "up");
  run("ip", "link", "set", "eth0", "up");
  return addUplink("wire0", "switch0");
}
