import type { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";

/** A host that lives, with when its last heartbeat was stored, by the store's clock. */
export interface LiveHost {
  readonly record: HostRecord;
  readonly storedAtUnixMs: number;
}

/** All hosts that live, to be read through. UNAVAILABLE where the store does not answer. */
export interface HostCatalogue {
  /** In no order; one whose heartbeat comes meanwhile may come again. */
  hosts(): AsyncIterable<LiveHost>;
  /** Null where it does not live. */
  host(hostId: HostId): Promise<LiveHost | null>;
}
