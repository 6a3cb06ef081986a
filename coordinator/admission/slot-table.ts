import type { GuestId } from "../../proto/ids.ts";
import type { AdmissionLimits } from "./admission-limits.ts";
import type { StoredSlot } from "./slot-store.ts";

/** What a migration takes part of. */
export interface Route {
  readonly sourceHostId: string;
  readonly destinationHostId: string;
}

/** How much of what a migration needs is taken. */
export interface Occupancy {
  readonly ofSource: number;
  readonly ofDestination: number;
  readonly inAll: number;
}

/**
 * The slots that count, as far as this coordinator has heard. What is heard comes in the order of revisions, and a slot
 * is overwritten only once its migration has ended; so when a slot has been heard, all those before it that count are
 * here.
 */
export class SlotTable {
  readonly #slots = new Map<GuestId, StoredSlot>();
  readonly #bySource = new Map<string, Set<GuestId>>();
  readonly #byDestination = new Map<string, Set<GuestId>>();

  get size(): number {
    return this.#slots.size;
  }

  get(guestId: GuestId): StoredSlot | undefined {
    return this.#slots.get(guestId);
  }

  all(): Iterable<StoredSlot> {
    return this.#slots.values();
  }

  /** The slot as it stands by now; one that was released is forgotten. */
  hear(stored: StoredSlot): void {
    const guestId = stored.slot.guestId as GuestId;
    this.forget(guestId);
    if (stored.slot.released) return;
    this.#slots.set(guestId, stored);
    guestsAt(this.#bySource, stored.slot.sourceHostId).add(guestId);
    guestsAt(this.#byDestination, stored.slot.destinationHostId).add(guestId);
  }

  forget(guestId: GuestId): void {
    const known = this.#slots.get(guestId);
    if (known === undefined) return;
    this.#slots.delete(guestId);
    remove(this.#bySource, known.slot.sourceHostId, guestId);
    remove(this.#byDestination, known.slot.destinationHostId, guestId);
  }

  occupancyOf({ sourceHostId, destinationHostId }: Route): Occupancy {
    return {
      ofSource: this.#bySource.get(sourceHostId)?.size ?? 0,
      ofDestination: this.#byDestination.get(destinationHostId)?.size ?? 0,
      inAll: this.#slots.size,
    };
  }

  /**
   * Whether those before this slot in the line leave room for it. Once true it stays so: slots before it only go away.
   * So of the slots that fit, the last in the line has counted all the others, and no limit is ever exceeded.
   */
  fits(stored: StoredSlot, limits: AdmissionLimits): boolean {
    const { slot, revision } = stored;
    const occupancy = this.occupancyOf(slot);
    // Counts of all are mostly enough, and cost nothing.
    const isAhead = (guestId: GuestId) =>
      guestId !== slot.guestId && (this.#slots.get(guestId)?.revision ?? 0) <= revision;
    const count = (guests: Iterable<GuestId>) => [...guests].filter(isAhead).length;
    const leaves = (taken: number, limit: number, guests: () => Iterable<GuestId>) =>
      taken <= limit || count(guests()) < limit;
    return (
      leaves(occupancy.ofSource, limits.perSource, () => guestsAt(this.#bySource, slot.sourceHostId)) &&
      leaves(occupancy.ofDestination, limits.perDestination, () =>
        guestsAt(this.#byDestination, slot.destinationHostId),
      ) &&
      leaves(occupancy.inAll, limits.inAll, () => this.#slots.keys())
    );
  }
}

function guestsAt(index: Map<string, Set<GuestId>>, hostId: string): Set<GuestId> {
  const guests = index.get(hostId) ?? new Set();
  index.set(hostId, guests);
  return guests;
}

function remove(index: Map<string, Set<GuestId>>, hostId: string, guestId: GuestId): void {
  const guests = index.get(hostId);
  guests?.delete(guestId);
  if (guests?.size === 0) index.delete(hostId);
}
