import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import type { Vmm } from "../vmm/vmm.ts";

/** QEMU's last words of a transfer. */
const OVER: ReadonlySet<string> = new Set(["none", "failed", "cancelled", "completed"]);
/** Run states from which QEMU goes on with `cont`, or in which it runs already. */
const CAN_GO_ON: ReadonlySet<string> = new Set(["postmigrate", "paused", "running", "io-error", "prelaunch"]);
const ASK_AGAIN_MS = 50;
const QUESTIONS_AT_MOST = 60;

/**
 * Brings a VMM to where it can run the guest that came back: `back`, or `none` where it cannot.
 *
 * One that was handed off live is over. In post-copy it is cancelled first, with the destination's VMM still alive: QEMU
 * 7.2 then says `postmigrate` and takes a `cont`; one that refuses to cancel has no way back, and its transfer goes on
 * untouched.
 * Throws where QEMU does not answer: what it did is unknown, and asking again is harmless.
 */
export async function reclaimVmm(
  vmm: Vmm,
  transfer: "over" | "toBeCancelled",
  clock: Clock,
): Promise<"back" | "none"> {
  if (transfer === "toBeCancelled") {
    try {
      await vmm.migrateCancel();
    } catch (thrown) {
      if (SwitchoverError.from(thrown).reason === "QMP_REFUSED") return "none";
      throw thrown;
    }
  }
  for (let question = 0; question < QUESTIONS_AT_MOST; question += 1) {
    const { statusText } = await vmm.queryMigrate();
    const { runStateText } = await vmm.queryStatus();
    if (isOver(statusText) && CAN_GO_ON.has(runStateText)) return "back";
    if (isOver(statusText) && runStateText !== "finish-migrate") return "none";
    await new Promise<void>((resolve) => clock.after(ASK_AGAIN_MS, resolve));
  }
  return "none";
}

export function isOver(transferStatus: string): boolean {
  return OVER.has(transferStatus);
}

export const NO_WAY_BACK = "NO_WAY_BACK";

export function noWayBack(): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", "The source's VMM cannot go on with the guest.", {
    reason: NO_WAY_BACK,
    field: "instance_id",
  });
}
