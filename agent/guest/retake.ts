import type { Fence } from "../../proto/epoch.ts";
import { type Guest, RESIDENT, type Resident } from "./guest.ts";
import { type Step, step, told } from "./step.ts";

/**
 * The right to run is here again: journaled before anything is registered or started. `runState` is what its owner had
 * the guest do; one that he had stopped stays so.
 */
export function retake(guest: Guest, fence: Fence, runState: string): Step {
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
