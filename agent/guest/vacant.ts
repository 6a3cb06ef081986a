import { claimForMigration } from "./await-word.ts";
import { fence } from "./fence.ts";
import { stopWithoutRight } from "./guard.ts";
import { type Guest, isInDoubt, RESIDENT } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { evolveResident } from "./resident.ts";
import { retake } from "./retake.ts";
import { type Step, step } from "./step.ts";

/**
 * A VMM that waits for a guest: it has no right to run until a migration brings it, or its owner, who has it load one that
 * was saved and orders it to start.
 */
export function evolveVacant(guest: Guest, event: GuestEvent): Step {
  switch (event.kind) {
    case "handBackOrdered":
    case "abortOrdered":
      // Its preparation may still be on the way: under this epoch it must find nobody.
      return fence(
        { ...guest, fence: event.fence },
        "The migration was given up before the destination was prepared.",
        event.kind === "abortOrdered" ? "released" : "kept",
      );
    case "destinationPrepared":
      return claimForMigration(guest, event);
    case "startOrdered": {
      const isLoaded = guest.cpus.kind === "stopped" && guest.cpus.runState !== "inmigrate";
      return isLoaded && !isInDoubt(guest)
        ? evolveResident({ ...guest, role: RESIDENT }, RESIDENT, event)
        : step(guest);
    }
    case "reclaimOrdered":
      return retake(guest, event.fence, event.runState);
    case "cpusResumed":
      return stopWithoutRight(
        guest,
        "The CPUs of a waiting VMM ran before any hand-off; they were stopped at once.",
      );
    case "timerFired":
      return event.timer === "stopAgain" && guest.cpus.kind === "running"
        ? stopWithoutRight(guest, "The CPUs of a waiting VMM still run; they are stopped again.")
        : step(guest);
    default:
      return step(guest);
  }
}
