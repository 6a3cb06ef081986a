/**
 * Where the feed's spool keeps its bytes: numbered segments, each only ever appended to, at last removed. A directory
 * on disk, or a simulated disk; it knows nothing of events.
 *
 * What `append` took outlives this process, what `sync` was resolved for outlives the host. After a host's crash a
 * segment may end anywhere in what was not synced. All methods but `sync` are done when they return; all throw
 * UNAVAILABLE / SPOOL_UNWRITABLE where the disk refuses.
 */
export interface SpoolStore {
  /** All segments that are there, by number, ascending. */
  segments(): readonly SpoolSegment[];
  /** Fewer bytes where the segment ends. */
  read(segment: number, fromByte: number, bytes: number): Uint8Array;
  /** All of it or nothing, at the end of the segment, which is made where it is absent. */
  append(segment: number, bytes: Uint8Array): void;
  /** Leaves the first `bytes` of the segment. */
  cut(segment: number, bytes: number): void;
  remove(segment: number): void;
  /** Resolves once all that was appended, and the segments' being there, is on disk. */
  sync(): Promise<void>;
  /** Idempotent; nothing is appended after it. */
  close(): void;
}

export interface SpoolSegment {
  readonly number: number;
  readonly bytes: number;
}
