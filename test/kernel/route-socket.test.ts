import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import { openRouteSocket } from "../../agent/netlink/route-socket.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { skipWithout } from "../resource.ts";
import { macOf, withHost } from "./guest-nics.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

test("lost answers are an error of their own, and the socket goes on", options, () =>
  inNetworkNamespace(() => {
    addBridge("br0");
    const route = openRouteSocket({ receiveBufferBytes: 1, receiveTimeoutMs: 200 });
    try {
      const batch = encodeBatch(Array.from({ length: 64 }, () => ({ op: "getLink", name: "none0" })));
      assert.throws(() => route.execute(batch), { code: "UNAVAILABLE", reason: "ENOBUFS" });
      const [result] = route.execute(encodeBatch([{ op: "getLink", name: "none0" }]));
      assert.equal(result?.ok === false && result.name, "ENODEV");
    } finally {
      route.close();
    }
  }),
);

test("a refusal carries the kernel's own words", options, () =>
  inNetworkNamespace(() =>
    withHost(({ route }) => {
      const macAddress = parseMacAddress(macOf(0), "mac_address");
      const [result] = route.execute(encodeBatch([{ op: "getFdbEntry", bridgeIfindex: 999, macAddress }]));
      assert.deepEqual(result, { ok: false, errno: 22, name: "EINVAL", text: "Invalid master ifindex" });
    }),
  ),
);

test("dumps tell one bridge's entries and all links", options, () =>
  inNetworkNamespace(() =>
    withHost(({ route }) => {
      addBridge("br0");
      addBridge("br1");
      for (const [index, bridge] of ["br0", "br1"].entries()) {
        run("ip", "tuntap", "add", `tap${index}`, "mode", "tap");
        run("ip", "link", "set", `tap${index}`, "master", bridge);
        run("bridge", "fdb", "replace", macOf(index), "dev", `tap${index}`, "master", "static");
      }
      const links = route.dump({ op: "dumpLinks" }).flatMap((m) => (m.type === "link" ? [m.link] : []));
      assert.deepEqual(links.map(({ name }) => name).sort(), ["br0", "br1", "lo", "tap0", "tap1"]);
      const bridgeIfindex = links.find(({ name }) => name === "br1")?.ifindex ?? 0;
      const entries = route
        .dump({ op: "dumpFdb", bridgeIfindex })
        .flatMap((m) => (m.type === "fdbEntry" && m.entry.state === "static" ? [m.entry.macAddress] : []));
      // A kernel that can filter VLANs tells of the entry's copies in them as well.
      assert.deepEqual([...new Set(entries)], [macOf(1)]);
    }),
  ),
);

test("a closed socket refuses instead of crashing", options, () =>
  inNetworkNamespace(() => {
    const route = openRouteSocket();
    route.close();
    route.close();
    assert.throws(() => route.execute(encodeBatch([{ op: "getLink", name: "lo" }])), { code: "UNAVAILABLE" });
  }),
);
