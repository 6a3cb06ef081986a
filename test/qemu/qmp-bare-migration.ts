import { migrationUriOf } from "../../agent/vmm/migration-address.ts";
import type { MigrationProgress } from "../../agent/vmm/migration-progress.ts";
import type { RunState } from "../../agent/vmm/run-state.ts";
import type { VmmStatus } from "../../agent/vmm/vmm.ts";
import { pollUntil } from "../lab/deadline.ts";
import { BareQemu, isKind, isStatus } from "./qmp-bare-qemu.ts";

export type MigrationMode = "live" | "post-copy";

/**
 * 64 MiB of mostly empty memory are 0.6 MB on the wire: slow enough that most of them are still on the way when
 * post-copy is asked for, and some when the destination runs.
 */
const PRE_COPY_BYTES_PER_SECOND = 60_000;
const POST_COPY_BYTES_PER_SECOND = 1_000_000;

export interface BarePair {
  readonly source: BareQemu;
  readonly destination: BareQemu;
}

/** Starts a running source and a destination that would run by itself, and ends both whatever `use` does. */
export async function withBarePair(use: (pair: BarePair) => Promise<void>): Promise<void> {
  const source = await BareQemu.start({ role: "source", cpus: "free" });
  try {
    const destination = await BareQemu.start({ role: "destination", cpus: "free" });
    try {
      await use({ source, destination });
    } finally {
      await destination.end();
    }
  } finally {
    await source.end();
  }
}

/** Prepares the destination as an agent does and starts the transfer; returns once the source's is `active`. */
export async function startTransfer({ source, destination }: BarePair, mode: MigrationMode): Promise<void> {
  const capabilities = [
    { capability: "events", enabled: true },
    { capability: "postcopy-ram", enabled: mode === "post-copy" },
  ] as const;
  await destination.vmm.stop();
  await destination.vmm.setMigrationCapabilities(capabilities);
  await destination.vmm.migrateIncoming("tcp:127.0.0.1:0");
  const [address] = (await destination.vmm.queryMigrate()).addresses;
  if (address === undefined) throw new Error("The destination tells no address.");
  await source.vmm.setMigrationCapabilities(capabilities);
  await source.vmm.setMigrationParameters({
    downtimeLimitMs: 100,
    ...(mode === "post-copy"
      ? {
          maxBandwidthBytesPerSecond: PRE_COPY_BYTES_PER_SECOND,
          maxPostcopyBandwidthBytesPerSecond: POST_COPY_BYTES_PER_SECOND,
        }
      : {}),
  });
  await source.vmm.migrate(migrationUriOf(address));
  await source.eventAt(isStatus("active"));
}

/** Asks for the run state until it is no more `passing`: QEMU's events come a little before the state they announce. */
export function statusAfter({ vmm }: BareQemu, passing: RunState): Promise<VmmStatus> {
  return pollUntil(
    async () => {
      const status = await vmm.queryStatus();
      return status.runState === passing ? undefined : status;
    },
    5_000,
    `The end of ${passing}`,
  );
}

/** Waits until the destination may be started: `query-status` asked after its status event answers `paused`. */
export async function destinationReady({ destination }: BarePair, mode: MigrationMode): Promise<VmmStatus> {
  await destination.eventAt(isStatus(mode === "live" ? "completed" : "postcopy-active"));
  return statusAfter(destination, "inmigrate");
}

export interface BareMigrationReport {
  readonly transferring: MigrationProgress;
  readonly sourceStatus: VmmStatus;
  readonly sourceProgress: MigrationProgress;
  readonly readyStatus: VmmStatus;
  readonly destinationStatus: VmmStatus;
  readonly destinationProgress: MigrationProgress;
}

/** One whole migration by the book; both monitors' transcripts hold it afterwards. */
export async function migrateByTheBook(pair: BarePair, mode: MigrationMode): Promise<BareMigrationReport> {
  const { source, destination } = pair;
  await startTransfer(pair, mode);
  const transferring = await source.vmm.queryMigrate();
  if (mode === "post-copy") await source.vmm.migrateStartPostcopy();
  await source.eventAt(isKind("stop"));
  await Promise.all([source.vmm.queryMigrate(), source.vmm.queryMigrate()]);
  const readyStatus = await destinationReady(pair, mode);
  await destination.vmm.cont();
  await Promise.all([source.eventAt(isStatus("completed")), destination.eventAt(isStatus("completed"))]);
  return {
    transferring,
    sourceStatus: await statusAfter(source, "finish-migrate"),
    sourceProgress: await source.vmm.queryMigrate(),
    readyStatus,
    destinationStatus: await destination.vmm.queryStatus(),
    destinationProgress: await destination.vmm.queryMigrate(),
  };
}
