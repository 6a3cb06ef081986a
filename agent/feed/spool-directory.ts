import {
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import type { SpoolSegment, SpoolStore } from "./spool-store.ts";

const syncData = promisify(fdatasync);
const syncEntries = promisify(fsync);

const SEGMENT_NAME = /^(\d{12})\.spool$/;

/** The spool's segments in one directory, which must exist and be this agent's alone. */
export function openSpoolDirectory(directory: string): SpoolStore {
  return new SpoolDirectory(directory);
}

class SpoolDirectory implements SpoolStore {
  readonly #path: string;
  readonly #fds = new Map<number, number>();
  readonly #unsynced = new Set<number>();
  readonly #directoryFd: number;
  #entries: "synced" | "changed" = "changed";
  #state: "open" | "closed" = "open";

  constructor(path: string) {
    this.#path = path;
    this.#directoryFd = this.#attempt(() => openSync(path, "r"));
  }

  segments(): readonly SpoolSegment[] {
    return this.#attempt(() =>
      readdirSync(this.#path)
        .flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? [])
        .map(Number)
        .sort((left, right) => left - right)
        .map((number) => ({ number, bytes: fstatSync(this.#open(number)).size })),
    );
  }

  read(segment: number, fromByte: number, bytes: number): Uint8Array {
    return this.#attempt(() => {
      const buffer = Buffer.alloc(bytes);
      const fd = this.#open(segment);
      let length = 0;
      for (let more = 1; more > 0 && length < bytes; length += more) {
        more = readSync(fd, buffer, length, bytes - length, fromByte + length);
      }
      return buffer.subarray(0, length);
    });
  }

  append(segment: number, bytes: Uint8Array): void {
    this.#attempt(() => {
      const fd = this.#open(segment);
      this.#unsynced.add(segment);
      const { size } = fstatSync(fd);
      try {
        const written = writeSync(fd, bytes);
        if (written !== bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes were taken`);
      } catch (thrown) {
        ftruncateSync(fd, size);
        throw thrown;
      }
    });
  }

  cut(segment: number, bytes: number): void {
    this.#attempt(() => ftruncateSync(this.#open(segment), bytes));
    this.#unsynced.add(segment);
  }

  remove(segment: number): void {
    this.#attempt(() => {
      closeSync(this.#open(segment));
      this.#fds.delete(segment);
      this.#unsynced.delete(segment);
      unlinkSync(this.#pathOf(segment));
    });
  }

  async sync(): Promise<void> {
    if (this.#isClosed()) return;
    const segments = [...this.#unsynced];
    const entries = this.#entries;
    this.#unsynced.clear();
    this.#entries = "synced";
    try {
      for (const segment of segments) {
        const fd = this.#fds.get(segment);
        if (fd !== undefined) await syncData(fd);
      }
      if (entries === "changed") await syncEntries(this.#directoryFd);
    } catch (thrown) {
      if (this.#isClosed()) return;
      for (const segment of segments) this.#unsynced.add(segment);
      if (entries === "changed") this.#entries = "changed";
      throw unwritable(this.#path, thrown);
    }
  }

  close(): void {
    if (this.#isClosed()) return;
    this.#state = "closed";
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
    closeSync(this.#directoryFd);
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #open(segment: number): number {
    if (this.#isClosed()) throw new Error("the spool is closed");
    const known = this.#fds.get(segment);
    if (known !== undefined) return known;
    const fd = openSync(this.#pathOf(segment), "a+", 0o600);
    this.#fds.set(segment, fd);
    this.#entries = "changed";
    return fd;
  }

  #pathOf(segment: number): string {
    return join(this.#path, `${String(segment).padStart(12, "0")}.spool`);
  }

  #attempt<T>(operation: () => T): T {
    try {
      return operation();
    } catch (thrown) {
      throw unwritable(this.#path, thrown);
    }
  }
}

function unwritable(path: string, cause: unknown): SwitchoverError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new SwitchoverError("UNAVAILABLE", `The spool ${path} does not work: ${text}.`, {
    reason: "SPOOL_UNWRITABLE",
    metadata: { path },
    cause,
  });
}
