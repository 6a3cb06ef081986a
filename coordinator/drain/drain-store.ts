import type { DrainRecord } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";

/** A record as its store holds it; `revision` is the store's own, for compare-and-set. */
export interface StoredDrain {
  readonly record: DrainRecord;
  readonly revision: number;
}

/** Where drains live: one key a host, changed by compare-and-set only. Every call ends within a bound of the store's. */
export interface DrainStore {
  /** Null where the host was never drained. */
  get(hostId: HostId): Promise<StoredDrain | null>;
  /**
   * Writes over the revision that was read; 0: over nothing. ABORTED / REVISION_CONFLICT where another one is there by
   * now. UNAVAILABLE / OUTCOME_UNKNOWN: it may or may not have happened.
   */
  write(record: DrainRecord, expectedRevision: number): Promise<StoredDrain>;
  /** Every record as it stands, then every newer one; may skip states, never the newest. */
  watch(signal: AbortSignal): AsyncIterable<StoredDrain>;
}
