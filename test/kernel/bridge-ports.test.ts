import assert from "node:assert/strict";
import { test } from "node:test";
import { openBridgePorts } from "../../agent/announce/bridge-ports.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { skipWithout } from "../resource.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };
const PAIRS = 60;

test(
  "the ports of one bridge are read in turns of the event loop, and shared by who asks meanwhile",
  options,
  () =>
    inNetworkNamespace(async () => {
      addBridge("br0");
      addBridge("br1");
      for (let index = 0; index < PAIRS; index++) {
        run("ip", "link", "add", `a${index}`, "master", "br0", "type", "veth", "peer", "name", `b${index}`);
      }
      run("ip", "link", "add", "c0", "master", "br1", "type", "veth", "peer", "name", "d0");
      const [bridge] = JSON.parse(run("ip", "-j", "link", "show", "dev", "br0")) as { ifindex: number }[];
      const ifindex = bridge?.ifindex ?? 0;
      const clock = openHostClock();
      let now = clock.unixUs();
      const bridgePorts = openBridgePorts({ ...clock, unixUs: () => now });
      try {
        let turns = 0;
        const count = (): void => {
          turns += 1;
          setImmediate(count).unref();
        };
        setImmediate(count).unref();
        const asked = [bridgePorts.of(ifindex), bridgePorts.of(ifindex)];
        assert.equal(asked[0], asked[1]);
        const ports = await asked[0];
        assert.deepEqual(
          ports?.map(({ name }) => name).sort(),
          Array.from({ length: PAIRS }, (_, index) => `a${index}`).sort(),
        );
        assert.ok(turns >= 2, `${turns} turns`);

        run("ip", "link", "del", "a0");
        now += 1_000_000;
        assert.equal((await bridgePorts.of(ifindex)).length, PAIRS - 1);
      } finally {
        bridgePorts.close();
      }
    }),
);
