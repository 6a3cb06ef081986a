import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { completeState } from "../migration/complete-state.ts";
import type { RecordStore } from "../record/record-store.ts";
import { type RecordedGuests, recordedIn } from "./recorded-guests.ts";
import { isSlotIdle, isUncounted, slotOf } from "./slot.ts";
import type { SlotStore, StoredSlot } from "./slot-store.ts";
import type { SlotTable } from "./slot-table.ts";
import { releaseSlot, takeSlot } from "./take-slot.ts";

interface KeeperPorts {
  readonly slots: SlotStore;
  readonly store: Pick<RecordStore, "get">;
  readonly clock: Clock;
  readonly log: Log;
}

const SWEEP_EVERY_MS = 2_000;
/** What one sweep sets right at most; the next one is not far. */
const SET_RIGHT_AT_MOST = 256;

/**
 * Keeps slots in line with the records, which are the truth: who has ended counts no more, who is under way counts. The
 * coordinator that let a migration begin releases its slot at once; any other one within two sweeps.
 */
export class SlotKeeper {
  readonly #ports: KeeperPorts;
  readonly #table: SlotTable;
  readonly #guests: RecordedGuests;
  readonly #signal: AbortSignal;
  readonly #kept = new Set<GuestId>();
  /** Found wanting by the last sweep: what is so twice is no mere delay. */
  #suspected: ReadonlySet<GuestId> = new Set();

  constructor(ports: KeeperPorts, table: SlotTable, guests: RecordedGuests, signal: AbortSignal) {
    this.#ports = ports;
    this.#table = table;
    this.#guests = guests;
    this.#signal = signal;
    this.#sweepLater();
  }

  /** The guest's migration begins here, and its slot is released from here. */
  keep(guestId: GuestId): void {
    this.#kept.add(guestId);
  }

  onRecord(guestId: GuestId): void {
    const stored = this.#table.get(guestId);
    if (!this.#kept.has(guestId) || stored === undefined || !this.#isIdle(stored)) return;
    this.#kept.delete(guestId);
    void this.#setRight(guestId);
  }

  #sweepLater(): void {
    this.#ports.clock.after(SWEEP_EVERY_MS, () => {
      if (!this.#signal.aborted) void this.#sweep().finally(() => this.#sweepLater());
    });
  }

  async #sweep(): Promise<void> {
    const wanting = new Set<GuestId>();
    for (const stored of this.#table.all()) {
      if (this.#isIdle(stored)) wanting.add(stored.slot.guestId as GuestId);
    }
    for (const [guestId, recorded] of this.#guests.all()) {
      if (isUncounted(recorded, this.#table.get(guestId)?.slot)) wanting.add(guestId);
    }
    const found = [...wanting].filter((guestId) => this.#suspected.has(guestId));
    this.#suspected = wanting;
    for (const guestId of found.slice(0, SET_RIGHT_AT_MOST)) {
      if (this.#signal.aborted) return;
      await this.#setRight(guestId);
    }
  }

  #isIdle({ slot }: StoredSlot): boolean {
    const recorded = this.#guests.get(slot.guestId as GuestId);
    return isSlotIdle(slot, recorded, BigInt(this.#ports.clock.unixUs()));
  }

  /** By what stands in the store now, not by what was heard. */
  async #setRight(guestId: GuestId): Promise<void> {
    const { slots, store, clock, log } = this.#ports;
    try {
      const heard = this.#table.get(guestId);
      const stands = await slots.get(guestId);
      const stored = await store.get(guestId);
      const recorded = recordedIn(stored?.record ?? null);
      const nowUnixUs = BigInt(clock.unixUs());
      if (stands === null) {
        // The store lost what was heard, unless that is newer than the question.
        if (heard !== undefined && this.#table.get(guestId) === heard) this.#table.forget(guestId);
      } else if (!stands.slot.released && isSlotIdle(stands.slot, recorded, nowUnixUs)) {
        await releaseSlot(slots, stands);
      }
      if (recorded === null || stored?.record.migration === undefined) return;
      const counted = stands?.slot.released === false ? stands.slot : undefined;
      if (!isUncounted(recorded, counted)) return;
      const { migration } = completeState(stored.record.migration);
      const { spec, migrationId } = migration;
      await takeSlot(slots, slotOf({ ...spec, migrationId }, recorded.epoch, nowUnixUs), recorded);
      log.warn(
        { guest_id: guestId, migration_id: migration.migrationId },
        "A migration under way had no slot.",
      );
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      log.debug({ guest_id: guestId, code, reason }, `A slot was not set right yet: ${message}`);
    }
  }
}
