import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Journal, JournalStore } from "./journal.ts";
import { decodeJournal, encodeJournalEntry } from "./journal-codec.ts";
import type { JournalEntry } from "./journal-entry.ts";

const sync = promisify(fdatasync);

const EXTENSION = ".journal";

/** The journals in one directory, which must exist and be this agent's alone. */
export function openJournalDirectory(directory: string): JournalStore {
  return {
    guestIds: () =>
      readdirSync(directory)
        .filter((name) => name.endsWith(EXTENSION))
        .map((name) => name.slice(0, -EXTENSION.length) as GuestId),
    exists: (guestId) => existsSync(pathOf(directory, guestId)),
    open: (guestId) => GuestJournal.open(directory, guestId),
  };
}

/**
 * A guest's journal on disk: one file a guest, one JSON line a word.
 *
 * `write` returns once the kernel has the line, so a killed agent loses nothing; `sync` resolves once the disk has
 * all that was written before, so a dead host loses nothing either.
 */
export class GuestJournal implements Journal {
  readonly #path: string;
  readonly #fd: number;
  readonly #entries: JournalEntry[];
  #state: "open" | "closed" = "open";
  /** What a full disk took of a line that was not written. */
  #tornBytes = 0;
  #bytes: number;

  private constructor(path: string, fd: number, entries: readonly JournalEntry[], bytes: number) {
    this.#path = path;
    this.#fd = fd;
    this.#bytes = bytes;
    this.#entries = [...entries];
  }

  /** Opens or makes the guest's journal; a torn last line is cut off. */
  static open(directory: string, guestId: GuestId): GuestJournal {
    const path = pathOf(directory, guestId);
    try {
      const fd = openSync(path, "a+", 0o600);
      const { entries, wholeBytes } = decodeJournal(readFileSync(path, "utf8"));
      ftruncateSync(fd, wholeBytes);
      return new GuestJournal(path, fd, entries, wholeBytes);
    } catch (thrown) {
      if (thrown instanceof SwitchoverError) throw thrown;
      throw unwritable(path, thrown);
    }
  }

  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  get bytes(): number {
    return this.#bytes;
  }

  write(entry: JournalEntry): void {
    const line = Buffer.from(encodeJournalEntry(entry));
    try {
      this.#cutTornLine();
      const written = writeSync(this.#fd, line);
      if (written !== line.length) {
        this.#tornBytes = written;
        this.#cutTornLine();
        throw new Error(`only ${written} of ${line.length} bytes were taken`);
      }
    } catch (thrown) {
      throw unwritable(this.#path, thrown);
    }
    this.#entries.push(entry);
    this.#bytes += line.length;
  }

  /** A line that follows half of another could not be read after a restart. */
  #cutTornLine(): void {
    if (this.#tornBytes === 0) return;
    ftruncateSync(this.#fd, fstatSync(this.#fd).size - this.#tornBytes);
    this.#tornBytes = 0;
  }

  async sync(): Promise<void> {
    if (this.#state === "closed") return;
    try {
      await sync(this.#fd);
    } catch (thrown) {
      throw unwritable(this.#path, thrown);
    }
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    try {
      fdatasyncSync(this.#fd);
    } finally {
      closeSync(this.#fd);
    }
  }
}

function pathOf(directory: string, guestId: GuestId): string {
  return join(directory, `${guestId}${EXTENSION}`);
}

function unwritable(path: string, cause: unknown): SwitchoverError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new SwitchoverError("UNAVAILABLE", `The journal ${path} cannot be written: ${text}.`, {
    reason: "JOURNAL_UNWRITABLE",
    metadata: { path },
    cause,
  });
}
