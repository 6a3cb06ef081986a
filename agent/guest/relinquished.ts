import type { Fence } from "../../proto/epoch.ts";
import { stopWithoutRight } from "./guard.ts";
import type { Forgotten, Guest, Relinquished } from "./guest.ts";
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
    case "releaseOrdered":
      return releaseWithVmm(guest, role, event.fence);
    case "vmmLost":
      return step(guest, role.released === "released" ? [{ kind: "releaseDevices" }] : []);
    default:
      return step(guest);
  }
}

/** The other host has the guest for good: what is left of it here goes when its VMM does. */
export function releaseWithVmm(guest: Guest, role: Relinquished | Forgotten, fence: Fence): Step {
  if (role.released === "released") return step(guest);
  return step({ ...guest, fence, role: { ...role, released: "released" } }, [
    { kind: "journal", word: { kind: "released", fence } },
    ...(guest.vmm === "lost" ? [{ kind: "releaseDevices" } as const] : []),
  ]);
}
