import type { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";

/** The hosts that have an agent: the host bucket. */
export interface HostPort {
  /** What the host's agent says about itself; null where none lives there. */
  get(hostId: HostId): Promise<HostRecord | null>;
}
