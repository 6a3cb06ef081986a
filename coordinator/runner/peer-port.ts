import type { GuestId } from "../../proto/ids.ts";

/** The other coordinators on the same NATS, as far as they are heard; nothing depends on it but how soon one goes on. */
export interface PeerPort {
  /** Calls `listener` with the id of each coordinator that leaves or falls silent; the returned function ends that. */
  onGone(listener: (coordinatorId: string) => void): () => void;
  /** Whether this coordinator, of all that are heard, is the one that goes on with the guest's migration at once. */
  isFirstFor(guestId: GuestId): boolean;
}
