import type { JournalWord } from "../journal/journal-entry.ts";

/** More than a guest's CPUs do while a disk is full. */
const LIMIT = 16;

/**
 * Words that the journal did not take yet, of what has happened all the same. They are written before any later word, so
 * that an agent that comes back reads them in order; the newest 16 are kept.
 */
export class UnwrittenWords {
  readonly #write: (word: JournalWord) => void;
  #words: JournalWord[] = [];

  constructor(write: (word: JournalWord) => void) {
    this.#write = write;
  }

  get isEmpty(): boolean {
    return this.#words.length === 0;
  }

  push(word: JournalWord): void {
    this.#words = [...this.#words, word].slice(-LIMIT);
  }

  /** Throws where the journal takes none; what is written is not written again. */
  write(): void {
    for (let word = this.#words[0]; word !== undefined; word = this.#words[0]) {
      this.#write(word);
      this.#words.shift();
    }
  }
}
