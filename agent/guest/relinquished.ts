import { stopWithoutRight } from "./guard.ts";
import { type Guest, RESIDENT, type Relinquished, type Resident } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { type Step, step, told } from "./step.ts";

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
      return retake(guest, role, event);
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

/** Journaled before anything is registered or started; a guest that its owner had stopped stays so. */
function retake(guest: Guest, role: Relinquished, event: GuestEvent & { kind: "retakeOrdered" }): Step {
  const { fence } = event;
  const { runState } = role.handOff;
  const wasRunning = runState === "running";
  const starts = wasRunning && guest.cpus.kind === "stopped" && guest.vmm === "connected";
  const resident: Resident = {
    ...RESIDENT,
    start: starts ? "registering" : "none",
    stoppedBy: wasRunning ? "switchover" : "owner",
  };
  return step({ ...guest, fence, role: resident }, [
    { kind: "journal", word: { kind: "retaken", fence, runState } },
    ...(starts || guest.cpus.kind === "running" ? [{ kind: "registerNics" } as const] : []),
    ...(wasRunning ? [] : [told({ $case: "sourceResumed", value: { runState } })]),
  ]);
}
