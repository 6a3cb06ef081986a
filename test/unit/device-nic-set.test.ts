import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { prepareNics } from "../../agent/device/nic-preparation.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const NICS: readonly TapOnBridgeNic[] = [0, 1, 2].map((index) => ({
  type: "tapOnBridge",
  nicId: `net${index}`,
  macAddress: parseMacAddress(`52:54:00:00:00:0${index + 1}`, ""),
  deviceName: `tap${index}`,
  bridge: index === 2 ? "br1" : "br0",
  macTableManager: "switchover",
  sticky: index === 1 ? "plain" : "sticky",
}));

const ALL_REGISTERED = [
  "br0 52:54:00:00:00:01 tap0 static sticky",
  "br0 52:54:00:00:00:02 tap1 static plain",
  "br1 52:54:00:00:00:03 tap2 static sticky",
].join("\n");

let nowUs = 0;
const clockUs = (): number => ++nowUs;

function preparedKernel(): PretendedKernel {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0");
  kernel.addBridge("br1");
  kernel.create({ deviceName: "uplink" });
  const [uplink, bridge] = [kernel.link("uplink")?.ifindex ?? 0, kernel.link("br0")?.ifindex ?? 0];
  kernel.execute(encodeBatch([{ op: "setLink", ifindex: uplink, change: { masterIfindex: bridge } }]));
  prepareNics({ route: kernel, factory: kernel }, NICS);
  return kernel;
}

function entriesOfTaps(kernel: PretendedKernel): string {
  return kernel
    .renderEntries()
    .split("\n")
    .filter((line) => line.includes(" tap"))
    .join("\n");
}

/** What happens to a host's devices behind the agent's back; each takes the number of a NIC. */
const MISHAPS: readonly ((kernel: PretendedKernel, nic: TapOnBridgeNic) => void)[] = [
  (kernel, nic) => kernel.remove(nic.deviceName),
  (kernel, nic) => kernel.leaveBridge(nic.deviceName),
  (kernel, nic) => kernel.remove(nic.bridge),
  (kernel, nic) => {
    if (kernel.link(nic.bridge) === undefined) kernel.addBridge(nic.bridge);
    prepareNics({ route: kernel, factory: kernel }, [nic]);
  },
  (kernel, nic) => {
    const ifindex = kernel.link(nic.deviceName)?.ifindex ?? 0;
    kernel.execute(encodeBatch([{ op: "setLink", ifindex, change: { state: "down" } }]));
  },
  (kernel, nic) => {
    const ifindex = kernel.link("uplink")?.ifindex ?? 0;
    const { macAddress } = nic;
    kernel.execute(encodeBatch([{ op: "replaceFdbEntry", ifindex, macAddress, sticky: "plain" }]));
  },
];

const operations = fc.array(
  fc.oneof(
    fc.constantFrom("start" as const, "stop" as const),
    fc.record({ mishap: fc.nat({ max: MISHAPS.length - 1 }), nic: fc.nat({ max: NICS.length - 1 }) }),
  ),
  { maxLength: 24 },
);

test("start registers each NIC as its policy says, and stop leaves nothing", () => {
  const kernel = preparedKernel();
  const set = armNicSet(kernel, NICS, clockUs);
  assert.equal(kernel.renderEntries(), "");
  assert.equal(set.start().result, "started");
  assert.equal(kernel.renderEntries(), ALL_REGISTERED);
  assert.equal(set.stop().result, "stopped");
  assert.equal(kernel.renderEntries(), "");
});

test("whatever happens to the devices, start is all or nothing and stop leaves no registration", () => {
  fc.assert(
    fc.property(operations, (steps) => {
      const kernel = preparedKernel();
      const set = armNicSet(kernel, NICS, clockUs);
      for (const step of steps) {
        if (step === "start") {
          const started = set.start().result === "started";
          const registered = verifyNics(kernel, NICS).map(({ registration }) => registration);
          assert.equal(entriesOfTaps(kernel), started ? ALL_REGISTERED : "");
          assert.deepEqual(
            registered.map((registration) => registration === "registered"),
            NICS.map(() => started),
          );
        } else if (step === "stop") {
          assert.equal(set.stop().result, "stopped");
          assert.equal(entriesOfTaps(kernel), "");
        } else {
          const nic = NICS[step.nic];
          if (nic !== undefined) MISHAPS[step.mishap]?.(kernel, nic);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test("a device that is not on its bridge cannot be armed", () => {
  const kernel = preparedKernel();
  kernel.leaveBridge("tap1");
  assert.throws(() => armNicSet(kernel, NICS, clockUs), {
    code: "FAILED_PRECONDITION",
    reason: "NOT_A_PORT",
    field: "nics[1].tap_on_bridge.device_name",
  });
});

test("a NIC whose device is gone is told to be absent", () => {
  const kernel = preparedKernel();
  kernel.remove("tap0");
  const [first, second] = verifyNics(kernel, NICS);
  assert.equal(first?.registration, "absent");
  assert.deepEqual(second, { registration: "quarantined" });
});
