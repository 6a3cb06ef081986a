import type { FoundVmm } from "../guest/recall.ts";
import type { Memory } from "../guest/remember.ts";
import { GONE, type VmmReport } from "../vmm/vmm-report.ts";

/** What an agent that comes back knows of a VMM that its owner drives. */
export interface RememberedReport {
  readonly known: VmmReport;
  /** What the kernel holds is yet to be read. */
  readonly found: Extract<FoundVmm, { vmm: "lost" }> | Omit<Extract<FoundVmm, { vmm: "connected" }>, "nics">;
  /** `begun`: it was to begin a transfer, and may have. */
  readonly transfer: "none" | "begun";
  readonly incomingUri: string;
}

/** The owner's last report; a VMM does not outlive its host's boot. */
export function rememberedReport(memory: Memory, reported: VmmReport, bootId: string): RememberedReport {
  const { adopted, standing } = memory;
  const { cpus, runState, transferStatus, observedAtUnixUs, transferUri = "" } = reported;
  return {
    known: { cpus, runState, transferStatus, observedAtUnixUs, transferUri },
    found:
      adopted?.bootId === bootId && runState !== GONE
        ? { vmm: "connected", runState, running: cpus === "running", transferStatus }
        : { vmm: "lost", sentence: "The VMM ended, or its host was booted again." },
    transfer: standing.kind === "outgoing" && standing.transfer === "begun" ? "begun" : "none",
    incomingUri: adopted?.external?.incomingUri ?? "",
  };
}
