import type { Fence } from "../../proto/epoch.ts";
import type { Forgotten, Guest, Relinquished } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { type Step, step } from "./step.ts";

/** Of a source that has no right to its guest, given away or forgotten whether: what both do alike. */
export function evolveGivenAway(guest: Guest, role: Relinquished | Forgotten, event: GuestEvent): Step {
  switch (event.kind) {
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
function releaseWithVmm(guest: Guest, role: Relinquished | Forgotten, fence: Fence): Step {
  if (role.released === "released") return step(guest);
  return step({ ...guest, fence, role: { ...role, released: "released" } }, [
    { kind: "journal", word: { kind: "released", fence } },
    ...(guest.vmm === "lost" ? [{ kind: "releaseDevices" } as const] : []),
  ]);
}
