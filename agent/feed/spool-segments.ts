import type { SpoolStore } from "./spool-store.ts";

/** Where an event's body lies. */
export interface SpoolPlace {
  readonly segment: number;
  readonly from: number;
  readonly bytes: number;
}

interface Segment {
  bytes: number;
  /** Events in it that the stream is not known to hold. */
  unsent: number;
}

/** How a segment begins: what the segments before it may take with them when they are removed. */
export type SegmentHeader = () => string;

/**
 * The spool's bytes, cut into segments so that what is done with is removed by whole files. A segment goes once the
 * stream has all its events, a later one with its header is on disk, and more is kept than the followers are owed.
 */
export class SpoolSegments {
  readonly #store: SpoolStore;
  readonly #segmentBytes: number;
  readonly #segments = new Map<number, Segment>();
  #current = 0;
  #bytes = 0;
  /** The newest segment's end was lost, and may have been its header's. */
  #newest: "whole" | "torn" = "whole";
  /** Headers up to this segment's are on disk. */
  #synced = 0;

  constructor(store: SpoolStore, segmentBytes: number) {
    this.#store = store;
    this.#segmentBytes = segmentBytes;
    for (const { number, bytes } of store.segments()) {
      this.#segments.set(number, { bytes, unsent: 0 });
      this.#current = Math.max(this.#current, number);
      this.#bytes += bytes;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Calls `onLine` for every whole line; a torn one at a segment's end is left out, in the newest segment cut off. */
  recover(onLine: (text: string, place: SpoolPlace) => void): void {
    for (const [number, segment] of this.#segments) {
      const bytes = Buffer.from(this.#store.read(number, 0, segment.bytes));
      let from = 0;
      for (let end = bytes.indexOf(10, from); end >= 0; end = bytes.indexOf(10, from)) {
        onLine(bytes.toString("utf8", from, end), { segment: number, from, bytes: end - from });
        from = end + 1;
      }
      if (number !== this.#current || from === segment.bytes) continue;
      this.#newest = "torn";
      this.#store.cut(number, from);
      this.#bytes -= segment.bytes - from;
      segment.bytes = from;
    }
  }

  /** Appends in one write and returns where the text begins. Throws what the store throws: then nothing was appended. */
  append(text: string, header: SegmentHeader): SpoolPlace {
    const current = this.#segments.get(this.#current);
    const begins = current === undefined || current.bytes >= this.#segmentBytes || this.#newest === "torn";
    const before = begins ? Buffer.from(header()) : Buffer.alloc(0);
    const bytes = Buffer.from(text);
    const number = begins ? this.#current + 1 : this.#current;
    this.#store.append(number, begins ? Buffer.concat([before, bytes]) : bytes);
    const segment = begins ? { bytes: 0, unsent: 0 } : current;
    this.#segments.set(number, segment);
    this.#current = number;
    this.#newest = "whole";
    const from = segment.bytes + before.length;
    segment.bytes = from + bytes.length;
    this.#bytes += before.length + bytes.length;
    return { segment: number, from, bytes: bytes.length };
  }

  /** undefined where the segment is gone. */
  read({ segment, from, bytes }: SpoolPlace): string | undefined {
    if (!this.#segments.has(segment)) return undefined;
    return Buffer.from(this.#store.read(segment, from, bytes)).toString("utf8");
  }

  /** One event more, or one less, in the segment that the stream is not known to hold. */
  count({ segment }: SpoolPlace, change: 1 | -1): void {
    const counted = this.#segments.get(segment);
    if (counted !== undefined) counted.unsent += change;
  }

  async sync(): Promise<void> {
    const number = this.#current;
    await this.#store.sync();
    this.#synced = Math.max(this.#synced, number);
  }

  /**
   * Removes the oldest segment that is done with where more than `keepBytes` are there, and returns its number. One at a
   * time: a guest's CPUs may stop at any moment, and removing takes a millisecond.
   */
  trim(keepBytes: number): number | undefined {
    if (this.#bytes <= keepBytes) return undefined;
    for (const [number, { bytes, unsent }] of this.#segments) {
      if (number >= this.#synced) return undefined;
      if (unsent > 0) continue;
      this.#store.remove(number);
      this.#segments.delete(number);
      this.#bytes -= bytes;
      return number;
    }
    return undefined;
  }

  close(): void {
    this.#store.close();
  }
}
