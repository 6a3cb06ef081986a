import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { QmpConnection } from "../lab/qmp-connection.ts";
import { skipWithout } from "../resource.ts";
import { startTransfer } from "./qmp-bare-migration.ts";
import { BareQemu } from "./qmp-bare-qemu.ts";

const PORTS = ["a", "b"].flatMap((name, index) => [
  "-device",
  `pcie-root-port,id=port-${name},slot=${index + 1}`,
]);
const NIC = ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,id=net0,bus=port-a"];

async function withNics(
  role: "source" | "destination",
  use: (qemu: BareQemu) => Promise<void>,
): Promise<void> {
  const qemu = await BareQemu.start({ role, cpus: "held", devices: [...PORTS, ...NIC] });
  await use(qemu).finally(() => qemu.end());
}

/** What QEMU says to a NIC more, and to one less. */
async function plug(qemu: BareQemu): Promise<{ readonly add: string; readonly del: string }> {
  qemu.vmm.close();
  const qmp = await QmpConnection.open(qemu.qmpPath);
  const said = (command: string, args: Record<string, unknown>) =>
    qmp.execute(command, args).then(
      () => "done",
      (error: Error) => error.message,
    );
  try {
    await qmp.execute("netdev_add", { type: "user", id: "net1" });
    return {
      add: await said("device_add", { driver: "virtio-net-pci", netdev: "net1", id: "net1", bus: "port-b" }),
      del: await said("device_del", { id: "net0" }),
    };
  } finally {
    qmp.close();
  }
}

describe("QEMU's hot-plug", { skip: skipWithout("qemu") }, () => {
  it("refuses a NIC more and a NIC less while its guest leaves", () =>
    withNics("source", (source) =>
      withNics("destination", async (destination) => {
        await source.vmm.setMigrationParameters({ maxBandwidthBytesPerSecond: 10_000 });
        await startTransfer({ source, destination }, "live");
        const { add, del } = await plug(source);
        assert.match(add, /device_add not allowed while migrating/);
        assert.match(del, /device_del not allowed while migrating/);
      }),
    ));

  it("takes both where a guest is awaited", () =>
    withNics("destination", async (destination) => {
      await destination.vmm.migrateIncoming("tcp:127.0.0.1:0");
      assert.deepEqual(await plug(destination), { add: "done", del: "done" });
    }));
});
