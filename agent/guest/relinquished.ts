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
    case "declineOrdered":
      return step({ ...guest, fence: event.fence }, [
        { kind: "journal", word: { kind: "declined", fence: event.fence } },
      ]);
    case "releaseOrdered": {
      if (role.released === "released") return step(guest);
      const released: Guest = { ...guest, fence: event.fence, role: { ...role, released: "released" } };
      return step(released, [
        { kind: "journal", word: { kind: "released", fence: event.fence } },
        ...(guest.vmm === "lost" ? [{ kind: "releaseDevices" } as const] : []),
      ]);
    }
    case "vmmLost":
      return step(guest, role.released === "released" ? [{ kind: "releaseDevices" }] : []);
    default:
      return step(guest);
  }
}
