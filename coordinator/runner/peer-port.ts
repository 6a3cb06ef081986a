import type { GuestId } from "../../proto/ids.ts";

/** The other coordinators on the same NATS, as far as they are heard; nothing depends on it but how soon one goes on. */
export interface PeerPort {
  /** Calls `listener` with the id of each coordinator that leaves or falls silent; the returned function ends that. */
  onGone(listener: (coordinatorId: string) => void): () => void;
  /**
   * Whether another coordinator is there to drive the guest's migration, which `committedBy` was the last to commit: that
   * one is heard, or is not, and another one is the first of all that are heard to go on with it.
   */
  isAnothers(guestId: GuestId, committedBy: string): boolean;
}
