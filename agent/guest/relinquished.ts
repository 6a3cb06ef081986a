import type { Guest, Relinquished } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { alarm, type Step, step } from "./step.ts";

/** Gave the right away: the guard. Its devices stay quarantined while its VMM lives and go with it. */
export function evolveRelinquished(guest: Guest, role: Relinquished, event: GuestEvent): Step {
  switch (event.kind) {
    case "cpusResumed":
      return step(guest, [
        { kind: "sendStop" },
        alarm("RAN_WITHOUT_RIGHT", "The CPUs ran after the hand-off; they were stopped at once."),
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
