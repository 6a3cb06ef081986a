import type { Journal, JournalStore } from "../../agent/journal/journal.ts";
import type { JournalEntry, JournalWord } from "../../agent/journal/journal-entry.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { GUEST } from "./guest-gate.ts";

/** The journal of one guest, in memory; it outlives the agents that have it. */
export class MemoryJournals implements JournalStore, Journal {
  readonly entries: JournalEntry[];
  readonly bytes = 0;
  #has: boolean;

  /** Written a microsecond after each other, from `fromUnixUs` on. */
  constructor(words: readonly (readonly [InstanceId, JournalWord])[], fromUnixUs = 0) {
    this.entries = words.map(([instanceId, word], index) => ({
      atUnixUs: fromUnixUs + index,
      instanceId,
      word,
    }));
    this.#has = words.length > 0;
  }

  guestIds = () => (this.#has ? [GUEST] : []);
  exists = () => this.#has;
  open = () => {
    this.#has = true;
    return this;
  };
  write = (entry: JournalEntry) => void this.entries.push(entry);
  sync = async () => {};
  close = () => {};

  said = (): string[] => this.entries.map(({ instanceId, word }) => `${instanceId} ${word.kind}`);
}
