import type { Clock } from "../clock.ts";
import type { MigrationProgress } from "../vmm/migration-progress.ts";
import type { Vmm, VmmEvent } from "../vmm/vmm.ts";
import type { Outgoing } from "./guest.ts";
import type { GuestFeedEvent } from "./guest-operation.ts";
import type { GuestRunner, PublishGuestEvent } from "./guest-runner.ts";

const READ_EVERY_MS = 250;
/**
 * Each word goes to the feed and to every coordinator, and a thousand transfers that last minutes would tell a thousand a
 * second: a transfer tells less often the longer it lasts, after a tenth of what it has lasted, within these bounds.
 */
const TELL_AGAIN_LEAST_MS = 1_000;
const TELL_AGAIN_MOST_MS = 5_000;
const TELL_AGAIN_PART = 0.1;
/** The VMM has better things to do just after STOP; one that still stands after this is stuck. */
const SWITCHES_WITHIN_MS = 1_000;
/** No byte for so long is a stall; it is told once for each such time. */
const STALLED_AFTER_MS = 5_000;
const MOVING: ReadonlySet<string> = new Set([
  "setup",
  "active",
  "device",
  "postcopy-active",
  "postcopy-recover",
]);

/**
 * Tells how far the source's copy is: once a second in its first 10 s, then ever less often, after 50 s every 5 s; and
 * within 250 ms of a further pass over memory, which may be what post-copy waits for; and when no byte has moved for
 * 5 s. Asks four times a second, but not in the first second between STOP and the hand-off, where the VMM has better
 * things to do, nor at each pass: the last ones come just before STOP.
 */
export class TransferProgressReader {
  readonly #vmm: Pick<Vmm, "sendQueryMigrate">;
  readonly #runner: Pick<GuestRunner, "guest">;
  readonly #clock: Clock;
  readonly #publish: PublishGuestEvent;
  #cancel: () => void = () => {};
  /** One question at a time: a VMM that stood still would answer all of them at once. */
  #question: "asked" | "none" = "none";
  #moved = { transferredBytes: -1, atUnixUs: 0 };
  #told = { passes: -1, atUnixUs: 0 };
  #begunAtUnixUs: number | null = null;

  constructor(
    vmm: Pick<Vmm, "sendQueryMigrate">,
    runner: Pick<GuestRunner, "guest">,
    clock: Clock,
    publish: PublishGuestEvent,
  ) {
    this.#vmm = vmm;
    this.#runner = runner;
    this.#clock = clock;
    this.#publish = publish;
  }

  hearVmm(event: VmmEvent): void {
    if (event.kind === "migrationStatusChanged" && MOVING.has(event.statusText)) {
      if (event.statusText === "setup") this.#begunAtUnixUs = null;
      this.resume();
    }
    if (event.kind === "disconnected") this.stop();
  }

  /** Reads from now on, for as long as pages move. */
  resume(): void {
    const nowUnixUs = this.#clock.unixUs();
    this.#begunAtUnixUs ??= nowUnixUs;
    this.#moved = { transferredBytes: -1, atUnixUs: nowUnixUs };
    this.#readLater();
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
    if (migration?.side !== "source" || (role.kind === "outgoing" && this.#isSwitching(role))) return;
    if (this.#question === "asked") return;
    this.#question = "asked";
    this.#vmm.sendQueryMigrate((answer) => {
      this.#question = "none";
      if (answer.kind === "failed") return;
      this.#tell(answer.value, answer.receivedAtUnixUs);
      this.#watchForStall(answer.value.transferredBytes, answer.receivedAtUnixUs);
    });
  }

  #tell(progress: MigrationProgress, atUnixUs: number): void {
    const { passes } = progress;
    const isSoon = atUnixUs - this.#told.atUnixUs < this.#tellAgainAfterMs(atUnixUs) * 1_000;
    if (passes === this.#told.passes && isSoon) return;
    this.#told = { passes, atUnixUs };
    this.#publish(this.#runner.guest, progressEvent(progress), atUnixUs);
  }

  #tellAgainAfterMs(atUnixUs: number): number {
    const lastedMs = (atUnixUs - (this.#begunAtUnixUs ?? atUnixUs)) / 1_000;
    const afterMs = Math.min(TELL_AGAIN_MOST_MS, Math.max(TELL_AGAIN_LEAST_MS, lastedMs * TELL_AGAIN_PART));
    // The reading that is nearest to it.
    return afterMs - READ_EVERY_MS / 2;
  }

  #isSwitching({ stop }: Outgoing): boolean {
    return stop !== null && this.#clock.unixUs() - stop.receivedAtUnixUs < SWITCHES_WITHIN_MS * 1_000;
  }

  #watchForStall(transferredBytes: number, atUnixUs: number): void {
    if (transferredBytes !== this.#moved.transferredBytes) {
      this.#moved = { transferredBytes, atUnixUs };
      return;
    }
    const stalledForMs = Math.floor((atUnixUs - this.#moved.atUnixUs) / 1_000);
    if (stalledForMs < STALLED_AFTER_MS) return;
    this.#moved = { transferredBytes, atUnixUs };
    const stalled = { $case: "transferStalled", value: { stalledForMs } } as const;
    this.#publish(this.#runner.guest, stalled, atUnixUs);
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
