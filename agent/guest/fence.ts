import type { Fenced, Guest } from "./guest.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { deregistration, type Step, step, told } from "./step.ts";

const QUIT_AGAIN_MS = 1_000;

/**
 * Journals that the guest was never started here and never will be under the epoch, and makes that true: the VMM is told
 * to quit, which also frees its image locks. In post-copy the source's VMM cannot go on without this one, so there it
 * lives, stopped, until the source has taken the guest back.
 */
export function fence(guest: Guest, sentence: string, released: Fenced["released"] = "kept"): Step {
  const isHeld = released === "kept" && guest.migration?.mode === "postCopy" && guest.vmm === "connected";
  const role: Fenced = { kind: "fenced", sentence, vmm: isHeld ? "heldForSource" : "ending", released };
  return step({ ...guest, role }, [
    // Where the disk fills up in between, the word that binds is the one that is missing.
    ...(released === "released"
      ? [{ kind: "journal", word: { kind: "released", fence: guest.fence } } as const]
      : []),
    { kind: "journal", word: { kind: "handedBack", fence: guest.fence, sentence } },
    ...deregistration(guest),
    ...(isHeld ? [] : endVmm(guest, role)),
    told({ $case: "handedBack", value: { sentence } }),
  ]);
}

/** The VMM's end, asked for until it comes; then the devices go, if they are to. */
export function endVmm(guest: Guest, role: Fenced): readonly GuestOperation[] {
  if (guest.vmm === "lost") return role.released === "released" ? [{ kind: "releaseDevices" }] : [];
  return [{ kind: "quitVmm" }, { kind: "setTimer", timer: "quitAgain", delayMs: QUIT_AGAIN_MS }];
}
