import { evolveGivenAway } from "./given-away.ts";
import { stopWithoutRight } from "./guard.ts";
import type { Guest, Relinquished } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { retake } from "./retake.ts";
import { type Step, step } from "./step.ts";

/**
 * Gave the right away: the guard. Its devices stay quarantined while its VMM lives and go with it.
 *
 * The right comes back by the destination's journaled word alone, which the coordinator brings under a higher epoch.
 */
export function evolveRelinquished(guest: Guest, role: Relinquished, event: GuestEvent): Step {
  switch (event.kind) {
    case "cpusResumed":
      return stopWithoutRight(guest, "The CPUs ran after the hand-off; they were stopped at once.");
    case "timerFired":
      return event.timer === "stopAgain" && guest.cpus.kind === "running"
        ? stopWithoutRight(guest, "The CPUs still run after the hand-off; they are stopped again.")
        : step(guest);
    case "retakeOrdered":
      return retake(guest, event.fence, role.handOff.runState);
    default:
      return evolveGivenAway(guest, role, event);
  }
}
