import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet } from "../../agent/device/nic-set.ts";
import { skipWithout } from "../resource.ts";
import { clockUs, macOf, outcomesOf, tapNic, withHost } from "./guest-nics.ts";
import { fdbText } from "./host-state.ts";
import { inNetworkNamespace } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const MAC = macOf(0);
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("VLANs on a bridge that does not filter", options, () => {
  it("are refused at preflight, by their field", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        const [refusal] = preflightNics(host.route, [tapNic(0, { vlans: [7, 9] })]);
        assert.equal(
          `${refusal?.reason} ${refusal?.field}`,
          "BRIDGE_NOT_VLAN_AWARE nics[0].tap_on_bridge.vlans",
        );
      }),
    ));

  it("keep a NIC that was armed with them from starting: the kernel takes no entry, and nothing is left", () =>
    inNetworkNamespace(() =>
      withHost((host) => {
        addBridge("br0");
        const plain = tapNic(1);
        prepareNics(host, [tapNic(0), plain]);
        const report = armNicSet(host.route, [plain, tapNic(0, { vlans: [7] })], clockUs).start();
        assert.equal(outcomesOf(report.nics), "net1 started, net0 failed VLAN_NOT_ON_PORT");
        assert.equal(report.result === "failed" && report.undo.result, "stopped");
        assert.equal(fdbText(MAC, macOf(1)), "");
      }),
    ));
});
