import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import type { Guest } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { judgeStay } from "./stay-registered.ts";
import { after, type Step, step, told } from "./step.ts";

/** Saving a guest ends when it ends, and no event tells it. */
const READ_AGAIN_MS = 250;

type RunStateRead = Extract<GuestEvent, { readonly kind: "runStateRead" }>;

/**
 * Joins a stop with its reason, and tells the feed of it: STOP carries none. What a stopped VMM turns into later (a reset
 * after a shutdown, the end of a save) is joined and told likewise.
 */
export function explainStop(guest: Guest, { purpose, runState }: RunStateRead): Step {
  // An answer from before a stop says nothing of it.
  if (guest.cpus.kind !== "stopped" || runState === "running") return step(guest);
  const isNews = purpose === "stopCause" && guest.cpus.runState !== runState;
  const judged = judgeStay({ ...guest, cpus: { kind: "stopped", runState } });
  const { stay } = judged.guest;
  const registration = stay.kind === "stays" ? Registration.REGISTERED : Registration.QUARANTINED;
  return step(judged.guest, [
    ...judged.operations,
    ...(isNews ? [told({ $case: "stopExplained", value: { runState, registration } })] : []),
    ...(isBeingSaved(judged.guest)
      ? [{ kind: "setTimer", timer: "readStopCauseAgain", delayMs: READ_AGAIN_MS } as const]
      : []),
  ]);
}

/** Asks again what a guest that stands has become. */
export function explainAnew(guest: Guest): Step {
  return step(guest, guest.cpus.kind === "stopped" ? [{ kind: "readRunState", purpose: "stopCause" }] : []);
}

/** The VMM's owner had it migrate to a file: with a migration of ours its own events tell its end. */
export function isBeingSaved({ cpus, migration, role }: Guest): boolean {
  return (
    role.kind === "resident" &&
    migration === null &&
    cpus.kind === "stopped" &&
    cpus.runState === "finish-migrate"
  );
}

/** The VMM told of what befell the guest: what the feed hears of it, and where a guest that stood is now. */
export function tellReport(guest: Guest, event: Extract<GuestEvent, { readonly kind: "vmmReported" }>): Step {
  const { report } = event;
  const tell = told({ $case: "vmmReported", value: report });
  return report.event === "RESET" ? after([tell], explainAnew(guest)) : step(guest, [tell]);
}
