import type { Clock } from "../clock.ts";
import type { MigrationProgress } from "../vmm/migration-progress.ts";
import type { Vmm, VmmEvent } from "../vmm/vmm.ts";
import type { GuestFeedEvent } from "./guest-operation.ts";
import type { GuestRunner, PublishGuestEvent } from "./guest-runner.ts";

const READ_EVERY_MS = 250;
const MOVING: ReadonlySet<string> = new Set(["setup", "active", "postcopy-active", "postcopy-recover"]);

/**
 * Tells how far the source's copy is, four times a second while pages move. Never asks between STOP and the hand-off,
 * where the VMM has better things to do, nor at each pass over memory: the last ones come just before STOP.
 */
export class TransferProgressReader {
  readonly #vmm: Vmm;
  readonly #runner: GuestRunner;
  readonly #clock: Clock;
  readonly #publish: PublishGuestEvent;
  #cancel: () => void = () => {};

  constructor(vmm: Vmm, runner: GuestRunner, clock: Clock, publish: PublishGuestEvent) {
    this.#vmm = vmm;
    this.#runner = runner;
    this.#clock = clock;
    this.#publish = publish;
  }

  hearVmm(event: VmmEvent): void {
    if (event.kind === "migrationStatusChanged" && event.status === "active") this.#readLater();
    if (event.kind === "disconnected") this.stop();
  }

  stop(): void {
    this.#cancel();
  }

  #readLater(): void {
    this.#cancel();
    this.#cancel = this.#clock.after(READ_EVERY_MS, () => {
      if (!MOVING.has(this.#runner.guest.migration?.transferStatus ?? "none")) return;
      this.#read();
      this.#readLater();
    });
  }

  #read(): void {
    const { migration, role } = this.#runner.guest;
    const switchingOver = role.kind === "outgoing" && role.stop !== null;
    if (migration?.side !== "source" || switchingOver) return;
    this.#vmm.sendQueryMigrate((answer) => {
      if (answer.kind === "failed") return;
      this.#publish(this.#runner.guest, progressEvent(answer.value), answer.receivedAtUnixUs);
    });
  }
}

function progressEvent(progress: MigrationProgress): GuestFeedEvent {
  return {
    $case: "transferProgressed",
    value: {
      progress: {
        transferredBytes: BigInt(progress.transferredBytes),
        remainingBytes: BigInt(progress.remainingBytes),
        totalBytes: BigInt(progress.totalBytes),
        rateBitsPerSecond: BigInt(Math.round(progress.rateMbps * 1e6)),
        passes: progress.passes,
        expectedDowntimeMs: progress.expectedDowntimeMs ?? 0,
      },
    },
  };
}
