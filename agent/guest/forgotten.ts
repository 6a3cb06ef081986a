import { evolveGivenAway } from "./given-away.ts";
import { type Forgotten, type Guest, RESIDENT } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { retake } from "./retake.ts";
import { type Step, step } from "./step.ts";

/**
 * May have given its guest away, or never have been given it: an empty journal is no word. It starts nothing and stops
 * nothing by itself. CPUs that run all the same, as after a transfer that failed, are the guest's as far as anybody here
 * knows: registered at once, and journaled, for an agent that comes back.
 */
export function evolveForgotten(guest: Guest, role: Forgotten, event: GuestEvent): Step {
  switch (event.kind) {
    case "cpusResumed":
      return step({ ...guest, role: RESIDENT }, [
        { kind: "registerNics" },
        { kind: "journalWhenPossible", word: { kind: "started", fence: guest.fence } },
        { kind: "announce" },
      ]);
    case "reclaimOrdered":
      return retake(guest, event.fence, event.runState);
    default:
      return evolveGivenAway(guest, role, event);
  }
}
