import { migrationUriOf } from "../../agent/vmm/migration-address.ts";
import { type BarePair, destinationReady, startTransfer, statusAfter } from "./qmp-bare-migration.ts";
import { isKind, isStatus } from "./qmp-bare-qemu.ts";

/** Slow enough that the pages do not end before they are to be interrupted. */
const SLOW_BYTES_PER_SECOND = 60_000;
const FAST_BYTES_PER_SECOND = 100_000_000;

/** One way in which a migration does not go by the book; both monitors' transcripts hold it afterwards. */
export interface BrokenMigration {
  readonly name: string;
  play(pair: BarePair): Promise<void>;
}

export const BROKEN_MIGRATIONS: readonly BrokenMigration[] = [
  {
    name: "cancelled-before-stop",
    async play(pair) {
      const { source, destination } = pair;
      await startTransfer(pair, "post-copy");
      await source.vmm.migrateCancel();
      await source.eventAt(isStatus("cancelled"));
      await destination.eventAt(isKind("disconnected"));
      await source.vmm.queryStatus();
    },
  },
  {
    name: "cancelled-after-stop",
    async play(pair) {
      const { source } = pair;
      await stopBeforeSwitchover(pair);
      await source.vmm.migrateCancel();
      await source.eventAt(isStatus("cancelled"));
      await source.vmm.queryStatus();
    },
  },
  {
    name: "destination-killed-before-stop",
    async play(pair) {
      const { source, destination } = pair;
      await startTransfer(pair, "post-copy");
      await destination.process.kill();
      await source.eventAt(isStatus("failed"));
      await source.vmm.queryStatus();
    },
  },
  {
    name: "post-copy-cancelled",
    async play(pair) {
      const { source } = pair;
      await enterPostCopy(pair);
      await source.vmm.migrateCancel();
      await source.eventAt(isStatus("cancelled"));
      await statusAfter(source, "finish-migrate");
      await source.vmm.cont();
      await source.vmm.queryStatus();
    },
  },
  {
    name: "post-copy-recovered",
    async play(pair) {
      const { source, destination } = pair;
      await enterPostCopy(pair);
      const [address] = (await destination.vmm.queryMigrate()).addresses;
      if (address?.kind !== "inet") throw new Error("The destination tells no port.");
      await destination.vmm.cont();
      await source.vmm.migratePause();
      await source.eventAt(isStatus("postcopy-paused"));
      await destination.eventAt(isStatus("postcopy-paused"));
      // The destination's main loop may be stuck in a page fault: its port has to be named, not asked for.
      const uri = migrationUriOf({ ...address, port: address.port + 1 });
      await destination.vmm.migrateRecover(uri);
      await source.vmm.setMigrationParameters({ maxPostcopyBandwidthBytesPerSecond: FAST_BYTES_PER_SECOND });
      await source.vmm.migrateResume(uri);
      await source.eventAt(isStatus("completed"));
      await destination.eventAt(isStatus("completed"));
      await statusAfter(source, "finish-migrate");
    },
  },
];

/** Up to `pre-switchover`: the CPUs have stopped, and QEMU waits to be told to go on. */
async function stopBeforeSwitchover(pair: BarePair): Promise<void> {
  const { source } = pair;
  await source.vmm.setMigrationCapabilities([{ capability: "pause-before-switchover", enabled: true }]);
  await startTransfer(pair, "live");
  await source.eventAt(isStatus("pre-switchover"));
}

/** Until the destination is ready, with most pages still to come. */
async function enterPostCopy(pair: BarePair): Promise<void> {
  const { source } = pair;
  await startTransfer(pair, "post-copy");
  await source.vmm.setMigrationParameters({ maxPostcopyBandwidthBytesPerSecond: SLOW_BYTES_PER_SECOND });
  await source.vmm.migrateStartPostcopy();
  await source.eventAt(isKind("stop"));
  await destinationReady(pair, "post-copy");
}
