import { SwitchoverError } from "../../proto/error.ts";
import { parseMigrationStatus } from "./migration-status.ts";
import type { VmmEventBody } from "./vmm-event.ts";
import { GONE, type VmmReport, type VmmTold } from "./vmm-report.ts";

export interface VmmNews {
  readonly events: readonly VmmEventBody[];
  /** Whether the CPUs have stopped after the transfer's status was told. */
  readonly statusIs: "from before the stop" | "current";
}

/**
 * What QMP would have told of a report, in QEMU's order: what a transfer comes to is told after STOP, and before RESUME. A
 * `postcopy-active` from before the stop is told again when it is stated of the stopped guest: it says something else then.
 */
export function newsOf(
  before: VmmReport,
  after: VmmReport,
  told: VmmTold,
  statusWas: VmmNews["statusIs"],
): VmmNews {
  if (after.runState === GONE) return { events: [GONE_EVENT], statusIs: statusWas };
  const stops = after.cpus === "stopped" && before.cpus === "running";
  const resumes = after.cpus === "running" && before.cpus === "stopped";
  const statusIs = stops ? "from before the stop" : statusWas;
  const { transferStatus: statusText } = told;
  const isStated = statusText === "postcopy-active" && statusIs === "from before the stop";
  const isNews = statusText !== "" && (statusText !== before.transferStatus || isStated);
  const status = parseMigrationStatus(statusText);
  return {
    events: [
      ...(stops ? [{ kind: "stop" } as const] : []),
      ...(isNews ? [{ kind: "migrationStatusChanged", status, statusText } as const] : []),
      ...(resumes ? [{ kind: "resume" } as const] : []),
    ],
    statusIs: isNews ? "current" : statusIs,
  };
}

const GONE_EVENT: VmmEventBody = {
  kind: "disconnected",
  error: new SwitchoverError("UNAVAILABLE", "Its owner says that the VMM has ended.", {
    reason: "VMM_ENDED",
  }),
};
