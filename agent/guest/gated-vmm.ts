import { SwitchoverError } from "../../proto/error.ts";
import type { Vmm } from "../vmm/vmm.ts";
import type { RunStatePurpose, TransferStatusPurpose, VmmHeard } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";

/** A VMM whose main loop is busy, with a page fault of post-copy for instance, is asked again in its own time. */
const ASK_AGAIN_MS = 250;

/** What a gate asks of its VMM. */
export type GatedVmm = Pick<
  Vmm,
  | "sendQueryStatus"
  | "sendQueryMigrate"
  | "sendCont"
  | "sendStop"
  | "sendMigrateCancel"
  | "yankMigration"
  | "quit"
  | "announceSelf"
  | "close"
>;

export type VmmOperation = Extract<
  GuestOperation,
  {
    readonly kind:
      | "sendCont"
      | "sendStop"
      | "readRunState"
      | "readTransferStatus"
      | "cancelTransfer"
      | "breakTransfer"
      | "quitVmm";
  }
>;

export interface VmmSpeaker {
  /** What the VMM answers, as the gate hears it. */
  readonly hear: (what: VmmHeard) => void;
  readonly warn: (sentence: string, error: SwitchoverError) => void;
  readonly setTimer: (delayMs: number, fire: () => void) => void;
}

/**
 * Carries out a gate's operations on its VMM: each command leaves within the call, and what comes of it is told to `hear`
 * where the rule waits for it. A question that is not answered in time is asked again until it is.
 */
export function operateVmm(vmm: GatedVmm, operation: VmmOperation, speaker: VmmSpeaker): void {
  const { hear, warn } = speaker;
  switch (operation.kind) {
    case "sendCont":
      vmm.sendCont((answer) => {
        if (answer.kind === "done") return;
        const { message: sentence, metadata, reason } = answer.error;
        const isRefused = reason === "QMP_REFUSED" || metadata.outcome === "not-sent";
        hear({ kind: "contRefused", outcome: isRefused ? "refused" : "unknown", sentence });
      });
      hear({ kind: "contSent" });
      break;
    case "sendStop":
      vmm.sendStop((answer) => {
        if (answer.kind === "failed") warn("The VMM did not stop the CPUs", answer.error);
      });
      break;
    case "readRunState":
      readRunState(vmm, operation.purpose, speaker);
      break;
    case "readTransferStatus":
      readTransferStatus(vmm, operation.purpose, speaker);
      break;
    case "cancelTransfer":
      vmm.sendMigrateCancel((answer) => {
        if (answer.kind === "failed") warn("The VMM did not cancel the transfer", answer.error);
      });
      break;
    case "breakTransfer":
      askOf(vmm.yankMigration(), "The VMM did not break the transfer's connection", speaker);
      break;
    case "quitVmm":
      askOf(vmm.quit(), "The VMM did not quit", speaker);
      break;
  }
}

/** What comes of it is told by the VMM's events, if anything. */
export function askOf(answer: Promise<void>, otherwise: string, { warn }: Pick<VmmSpeaker, "warn">): void {
  answer.catch((thrown: unknown) => warn(otherwise, SwitchoverError.from(thrown)));
}

function readRunState(vmm: GatedVmm, purpose: RunStatePurpose, speaker: VmmSpeaker): void {
  vmm.sendQueryStatus((answer) => {
    if (answer.kind === "done") {
      speaker.hear({ kind: "runStateRead", purpose, runState: answer.value.runStateText });
    } else askAgain(answer.error, "its run state", speaker, () => readRunState(vmm, purpose, speaker));
  });
}

function readTransferStatus(vmm: GatedVmm, purpose: TransferStatusPurpose, speaker: VmmSpeaker): void {
  vmm.sendQueryMigrate((answer) => {
    if (answer.kind === "done") {
      speaker.hear({ kind: "transferStatusRead", purpose, status: answer.value.statusText });
    } else {
      const again = () => readTransferStatus(vmm, purpose, speaker);
      askAgain(answer.error, "its migration status", speaker, again);
    }
  });
}

function askAgain(error: SwitchoverError, what: string, speaker: VmmSpeaker, again: () => void): void {
  speaker.warn(`The VMM did not tell ${what}`, error);
  if (error.reason === "QMP_TIMEOUT") speaker.setTimer(ASK_AGAIN_MS, again);
}
