import { compareFences, type Fence } from "../../proto/epoch.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { type CompleteState, completeState, guestIdOf } from "../migration/complete-state.ts";
import { byTurn, type WaitingMigration } from "./plan-admission.ts";
import type { RecordedMigration } from "./slot.ts";

interface RecordedGuest extends RecordedMigration {
  readonly fence: Fence;
}

/** What the records say of every guest's last migration, as far as admission goes, and who of them waits, in order. */
export class RecordedGuests {
  readonly #guests = new Map<GuestId, RecordedGuest>();
  readonly #waiting = new Map<GuestId, WaitingMigration>();
  #inOrder: readonly WaitingMigration[] | null = [];

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get(guestId: GuestId): RecordedMigration | null {
    return this.#guests.get(guestId) ?? null;
  }

  all(): Iterable<readonly [GuestId, RecordedMigration]> {
    return this.#guests;
  }

  waitingOf(guestId: GuestId): WaitingMigration | null {
    return this.#waiting.get(guestId) ?? null;
  }

  /** All that wait, in the order of their turns. */
  inOrder(): readonly WaitingMigration[] {
    this.#inOrder ??= [...this.#waiting.values()].sort(byTurn);
    return this.#inOrder;
  }

  /** Takes in what is newer than what is known; returns whether the line is another for it. */
  note(state: CompleteState): "line changed" | "line as before" | "known" {
    const guestId = guestIdOf(state);
    const { fence, migrationId, phase } = state.migration;
    const known = this.#guests.get(guestId);
    if (known !== undefined && compareFences(fence, known.fence) <= 0) return "known";
    const waiting = phase === Phase.PENDING ? waitingIn(state) : null;
    this.#guests.set(guestId, { migrationId, epoch: fence.epoch, phase, fence });
    const before = this.#waiting.get(guestId);
    if (before?.migrationId === waiting?.migrationId) return "line as before";
    if (waiting === null) this.#waiting.delete(guestId);
    else this.#waiting.set(guestId, waiting);
    this.#inOrder = null;
    return "line changed";
  }
}

/** The record's migration, as far as slots go; null where it has none. */
export function recordedIn(record: GuestRecord | null): RecordedMigration | null {
  if (record?.migration === undefined) return null;
  const { migrationId, phase } = completeState(record.migration).migration;
  return { migrationId, phase, epoch: record.epoch };
}

function waitingIn(state: CompleteState): WaitingMigration {
  const { migrationId, requestedAtUnixUs, spec } = state.migration;
  const { priority, sourceHostId, destinationHostId } = spec;
  const guestId = guestIdOf(state);
  return { guestId, migrationId, priority, requestedAtUnixUs, sourceHostId, destinationHostId };
}
