import type { HostId, MigrationId } from "../../proto/ids.ts";

/** The cloud's own way to make sure that nothing runs on a host any more. */
export interface FencingPort {
  /**
   * Resolves once the host is dead: powered off, and nothing runs there before it was booted anew. Asked for a host
   * again while that is under way, it waits for the same end. UNIMPLEMENTED / NO_FENCE_COMMAND where there is no such
   * way; any other failure means that nothing is known about the host, and that it may be asked for again.
   */
  fence(hostId: HostId, migrationId: MigrationId): Promise<void>;
}
