import type { Guest } from "./guest/guest.ts";
import type { GuestFeedEvent } from "./guest/guest-operation.ts";

/** Who counts what an agent says. */
export interface AgentMeter {
  /**
   * The event was said, at that time (Unix). Called once the switchover that it belongs to is over on this host, as the
   * feed's own events are; must not throw, and keeps nothing that it is given.
   */
  said(guest: Pick<Guest, "guestId" | "instanceId">, event: GuestFeedEvent, atUnixUs: number): void;
}

/** What there is on a host, counted when it is asked for. */
export interface AgentCensus {
  /** Instances under a gate, by the role's kind. */
  roles(): ReadonlyMap<Guest["role"]["kind"], number>;
  /** Events that the feed's stream is not known to hold. */
  unsentEvents(): number;
  /** When the oldest of them was said; null where there is none. */
  oldestUnsentUnixUs(): number | null;
}
