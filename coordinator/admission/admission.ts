import { SwitchoverError } from "../../proto/error.ts";
import type { QueuePlace } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { type CompleteState, completeState, guestIdOf } from "../migration/complete-state.ts";
import type { MigrationRequest } from "../record/guest-record.ts";
import type { RecordStore, StoredRecord } from "../record/record-store.ts";
import { watchAnew } from "../runner/watch-anew.ts";
import { type AdmissionCensus, takeCensus } from "./admission-census.ts";
import type { AdmissionLimits } from "./admission-limits.ts";
import type { AdmissionPort, Standby } from "./admission-port.ts";
import {
  type AdmissionPlan,
  competes,
  fullFor,
  planAdmission,
  type WaitingMigration,
} from "./plan-admission.ts";
import { queueFull } from "./queue-full.ts";
import { queuePlaceOf } from "./queue-place.ts";
import { RecordedGuests } from "./recorded-guests.ts";
import { slotOf } from "./slot.ts";
import { SlotKeeper } from "./slot-keeper.ts";
import type { SlotStore, StoredSlot } from "./slot-store.ts";
import { type Occupancy, type Route, SlotTable } from "./slot-table.ts";
import { takeSlot } from "./take-slot.ts";

export interface AdmissionPorts {
  readonly slots: SlotStore;
  readonly store: Pick<RecordStore, "get">;
  readonly clock: Clock;
  readonly log: Log;
  /** Hosts that no migration begins to; without it there are none. */
  readonly draining?: {
    isDraining(hostId: string): boolean;
    onChange(listener: () => void): void;
  };
}

/** Between two looks at the whole line; a first one is not delayed. A long line is looked at more rarely. */
const LOOK_AGAIN_AFTER_MS = 10;
const LOOKING_AT_MOST_ONE_IN = 10;
/** A coordinator that took a migration over leaves it so long to the one that it was asked of. */
const STAND_BACK_MS = 500;
/** Where the client does not say that all slots were brought. */
const CURRENT_WITHIN_MS = 1_000;
const TAKE_AGAIN_AFTER_MS = 200;

interface Entered {
  readonly migrationId: string;
  readonly standby: Standby;
  readonly onAdmitted: () => void;
  /** Since when there is room for it. */
  dueSinceUnixUs: number | null;
}

/**
 * The door between PENDING and PREPARING, for any number of coordinators on one store, none of which leads.
 *
 *   record PENDING --its turn by the plan--> slot written --all before it heard, and room--> record PREPARING
 *        ^                                       |
 *        `------- waits in line                  `-- released once the record has ended
 *
 * Guarantee: as long as the store keeps what it acknowledged, no limit is ever exceeded, whatever coordinators crash,
 * lag or do at once. A slot is one KV value a guest; the store's revision orders all of them, and a slot is overwritten
 * only once its migration has ended. A migration begins when its slot has been heard here, which brings all before it,
 * and those leave room (SlotTable.fits). Of those under way, the last in that line has counted all the others.
 *
 * The record is the truth: a slot whose record has ended is released by whoever notices, so none leaks; a migration
 * under way that has no slot gets one, uncounted until then. Only so may a limit be exceeded: where the store lost
 * acknowledged writes or came back from a backup, by the migrations that were lost, until they end; where coordinators
 * have different limits, the highest counts; and what began before there were slots was not asked.
 *
 * A migration that was asked for before its destination was to be evacuated waits for the end of that, or for its own; one
 * that has its slot by then begins.
 *
 * Order: priority, then request, by each coordinator's plan. Two that decide in one instant may let a later one go first.
 */
export class Admission implements AdmissionPort {
  readonly #ports: AdmissionPorts;
  readonly #limits: AdmissionLimits;
  readonly #signal: AbortSignal;
  readonly #table = new SlotTable();
  /** Slots that are being written, not heard yet. */
  readonly #taking = new SlotTable();
  readonly #guests = new RecordedGuests();
  readonly #entered = new Map<GuestId, Entered>();
  readonly #observers = new Map<GuestId, Set<() => void>>();
  readonly #keeper: SlotKeeper;
  #plan: AdmissionPlan = { admitted: [], waiting: new Map() };
  #current: "yes" | "no" = "no";
  #lookedAtUnixUs = Number.NEGATIVE_INFINITY;
  #looking: "yes" | "no" = "no";
  #restMs = LOOK_AGAIN_AFTER_MS;
  #nextLook: { readonly atUnixUs: number; readonly cancel: () => void } | null = null;

  /** Works until the signal. */
  constructor(ports: AdmissionPorts, limits: AdmissionLimits, signal: AbortSignal) {
    this.#ports = ports;
    this.#limits = limits;
    this.#signal = signal;
    this.#keeper = new SlotKeeper(ports, this.#table, this.#guests, signal);
    const watch = {
      of: "slots",
      begin: () => ports.slots.watch(signal, () => this.#becomeCurrent()),
      hear: (stored: StoredSlot) => this.#hear(stored),
      againAfterMs: TAKE_AGAIN_AFTER_MS,
    };
    void watchAnew(ports, watch, signal);
    ports.draining?.onChange(() => this.#lookSoon());
    ports.clock.after(CURRENT_WITHIN_MS, () => this.#becomeCurrent());
  }

  enter(state: CompleteState, standby: Standby, onAdmitted: () => void): () => void {
    const guestId = guestIdOf(state);
    const { migrationId } = state.migration;
    const entered: Entered = { migrationId, standby, onAdmitted, dueSinceUnixUs: null };
    this.#entered.set(guestId, entered);
    this.#guests.note(state);
    this.#lookSoon();
    return () => {
      if (this.#entered.get(guestId) === entered) this.#entered.delete(guestId);
    };
  }

  hear({ record }: StoredRecord): void {
    const { migration } = record;
    // One that is not whole costs its own guest only; whoever drives it is told.
    if (migration?.migration?.spec === undefined || migration.migration.fence === undefined) return;
    const noted = this.#guests.note(completeState(migration));
    if (noted !== "known") this.#keeper.onRecord(record.guestId as GuestId);
    if (noted === "line changed") this.#lookSoon();
  }

  placeOf(guestId: GuestId, migrationId: string): QueuePlace | null {
    const waiting = this.#guests.waitingOf(guestId);
    const standing = this.#plan.waiting.get(guestId);
    if (waiting?.migrationId !== migrationId || standing === undefined) return null;
    return queuePlaceOf(waiting, standing, this.#limits);
  }

  foretell({ guestId, spec }: MigrationRequest): QueuePlace | null {
    const line = this.#line();
    if (line.length >= this.#limits.queued) throw queueFull(this.#limits.queued);
    const { priority, sourceHostId, destinationHostId } = spec;
    const route = { sourceHostId, destinationHostId };
    const waitsFor = fullFor(this.#occupancyOf(route), this.#limits) ?? "turn";
    const isAhead = (other: WaitingMigration) =>
      other.guestId !== guestId &&
      other.priority >= priority &&
      this.#plan.waiting.get(other.guestId)?.waitsFor === waitsFor &&
      competes(other, route, waitsFor);
    const position = line.filter(isAhead).length + 1;
    if (waitsFor === "turn" && position === 1) return null;
    return queuePlaceOf(route, { waitsFor, position }, this.#limits);
  }

  observe(guestId: GuestId, listener: () => void): () => void {
    const listeners = this.#observers.get(guestId) ?? new Set();
    listeners.add(listener);
    this.#observers.set(guestId, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#observers.delete(guestId);
    };
  }

  /** As it stands now: for a scrape, not for a loop. */
  census(): AdmissionCensus {
    return takeCensus(this.#guests, this.#plan, this.#table);
  }

  #hear(stored: StoredSlot): void {
    if (this.#signal.aborted) return;
    this.#taking.forget(stored.slot.guestId as GuestId);
    this.#table.hear(stored);
    if (this.#guests.waitingCount > 0) this.#lookSoon();
  }

  #becomeCurrent(): void {
    if (this.#current === "yes") return;
    this.#current = "yes";
    this.#lookSoon();
  }

  #lookSoon(): void {
    const sinceMs = (this.#ports.clock.unixUs() - this.#lookedAtUnixUs) / 1_000;
    // What is heard while it looks is looked at next time.
    if (this.#looking === "yes" || sinceMs < this.#restMs) this.#lookWithin(this.#restMs);
    else this.#lookAtLine();
  }

  #lookWithin(delayMs: number): void {
    const { clock } = this.#ports;
    const atUnixUs = clock.unixUs() + delayMs * 1_000;
    if (this.#nextLook !== null && this.#nextLook.atUnixUs <= atUnixUs) return;
    this.#nextLook?.cancel();
    const cancel = clock.after(delayMs, () => {
      this.#nextLook = null;
      this.#lookAtLine();
    });
    this.#nextLook = { atUnixUs, cancel };
  }

  #lookAtLine(): void {
    if (this.#current === "no" || this.#signal.aborted) return;
    this.#looking = "yes";
    this.#lookedAtUnixUs = this.#ports.clock.unixUs();
    const before = this.#plan;
    this.#plan = planAdmission(
      this.#line(),
      (route) => this.#occupancyOf(route),
      this.#limits,
      (hostId) => this.#ports.draining?.isDraining(hostId) === true,
    );
    for (const migration of this.#plan.admitted) {
      if (this.#isDue(migration)) void this.#take(migration);
    }
    const admitted = [...this.#entered].filter(([guestId, entered]) => this.#mayBegin(guestId, entered));
    for (const [guestId, { onAdmitted }] of admitted) {
      this.#entered.delete(guestId);
      this.#keeper.keep(guestId);
      onAdmitted();
    }
    this.#looking = "no";
    const tookMs = (this.#ports.clock.unixUs() - this.#lookedAtUnixUs) / 1_000;
    this.#restMs = Math.max(LOOK_AGAIN_AFTER_MS, tookMs * LOOKING_AT_MOST_ONE_IN);
    this.#tellObservers(before);
    const standsBack = [...this.#entered.values()].some(({ dueSinceUnixUs }) => dueSinceUnixUs !== null);
    if (standsBack) this.#lookWithin(STAND_BACK_MS);
  }

  /** Those in PENDING that have no slot and are not about to get one. */
  #line(): readonly WaitingMigration[] {
    const inOrder = this.#guests.inOrder();
    if (this.#table.size === 0 && this.#taking.size === 0) return inOrder;
    return inOrder.filter(
      ({ guestId, migrationId }) =>
        this.#table.get(guestId)?.slot.migrationId !== migrationId &&
        this.#taking.get(guestId)?.slot.migrationId !== migrationId,
    );
  }

  #occupancyOf(route: Route): Occupancy {
    const heard = this.#table.occupancyOf(route);
    const taking = this.#taking.occupancyOf(route);
    return {
      ofSource: heard.ofSource + taking.ofSource,
      ofDestination: heard.ofDestination + taking.ofDestination,
      inAll: heard.inAll + taking.inAll,
    };
  }

  /** Whether this coordinator is the one to act now that there is room. */
  #isDue({ guestId, migrationId }: Pick<WaitingMigration, "guestId" | "migrationId">): boolean {
    const entered = this.#entered.get(guestId);
    if (entered?.migrationId !== migrationId) return false;
    if (entered.standby === "asked here") return true;
    const nowUnixUs = this.#ports.clock.unixUs();
    entered.dueSinceUnixUs ??= nowUnixUs;
    return nowUnixUs - entered.dueSinceUnixUs >= STAND_BACK_MS * 1_000;
  }

  #mayBegin(guestId: GuestId, { migrationId }: Entered): boolean {
    const stored = this.#table.get(guestId);
    if (stored?.slot.migrationId !== migrationId) return false;
    return this.#table.fits(stored, this.#limits) && this.#isDue({ guestId, migrationId });
  }

  async #take(waiting: WaitingMigration): Promise<void> {
    const { slots, clock, log } = this.#ports;
    const { guestId, migrationId } = waiting;
    const recorded = this.#guests.get(guestId);
    if (recorded?.migrationId !== migrationId) return;
    const slot = slotOf(waiting, recorded.epoch, BigInt(clock.unixUs()));
    this.#taking.hear({ slot, revision: 0 });
    try {
      await takeSlot(slots, slot, recorded);
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      const fields = { guest_id: guestId, migration_id: migrationId, code, reason };
      log.debug(fields, `The slot was not taken: ${message}`);
    }
    // What stands is heard by the watch, in its order; what is not heard in time is asked for again.
    clock.after(TAKE_AGAIN_AFTER_MS, () => {
      if (this.#taking.get(guestId)?.slot !== slot) return;
      this.#taking.forget(guestId);
      this.#lookSoon();
    });
  }

  #tellObservers(before: AdmissionPlan): void {
    for (const [guestId, listeners] of this.#observers) {
      const [was, is] = [before.waiting.get(guestId), this.#plan.waiting.get(guestId)];
      if (was?.position === is?.position && was?.waitsFor === is?.waitsFor) continue;
      for (const listener of listeners) listener();
    }
  }
}
