import { compareFences, FENCE_ZERO, type Fence } from "../../proto/epoch.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { JournalEntry } from "./journal-entry.ts";

/**
 * What this host has said about one guest, in order, only ever appended to.
 *
 * `write` returns once the line outlives this process, `sync` resolves once all that was written before outlives the
 * host. Both throw UNAVAILABLE / JOURNAL_UNWRITABLE: what was not journaled must not be said.
 */
export interface Journal {
  readonly entries: readonly JournalEntry[];
  /** How long it is. */
  readonly bytes: number;
  write(entry: JournalEntry): void;
  sync(): Promise<void>;
  /** With all that was written on disk, as far as the disk takes it. Idempotent. */
  close(): void;
}

/** The journals of one host. */
export interface JournalStore {
  /** Every guest that this host ever said something about. */
  guestIds(): readonly GuestId[];
  exists(guestId: GuestId): boolean;
  /** Opens or makes the guest's journal. */
  open(guestId: GuestId): Journal;
}

/** The newest fence of all words. */
export function newestFenceIn(entries: readonly JournalEntry[]): Fence {
  return entries.reduce((newest, { word }) => {
    const fence = fenceOf(word);
    return compareFences(fence, newest) > 0 ? fence : newest;
  }, FENCE_ZERO);
}

/** FENCE_ZERO for a word that belongs to no migration. */
export function fenceOf(word: JournalEntry["word"]): Fence {
  if (word.kind === "handedOff") return word.handOff.fence ?? FENCE_ZERO;
  return "fence" in word ? word.fence : FENCE_ZERO;
}
