import type { VmmEvent } from "../vmm/vmm.ts";
import type { GuestEvent } from "./guest-event.ts";
import { reportOfVmm } from "./report-of-vmm.ts";

/** What a VMM's event means to its guest's gate; null where that is nothing. */
export function guestEventOfVmm(heard: VmmEvent): GuestEvent | null {
  const atUnixUs = heard.receivedAtUnixUs;
  switch (heard.kind) {
    case "stop":
      return { kind: "cpusStopped", atUnixUs, stoppedAtUnixUs: heard.atUnixUs };
    case "suspend":
      return { kind: "cpusStopped", atUnixUs, stoppedAtUnixUs: heard.atUnixUs };
    case "wakeup":
      return { kind: "wakeupHeard", atUnixUs };
    case "resume":
      return { kind: "cpusResumed", atUnixUs, resumedAtUnixUs: heard.atUnixUs };
    case "migrationStatusChanged":
      return { kind: "transferStatusChanged", atUnixUs, status: heard.statusText };
    case "startRefused":
      return { kind: "contRefused", atUnixUs, outcome: "refused", sentence: heard.sentence };
    case "disconnected":
      return { kind: "vmmLost", atUnixUs, sentence: heard.error.message };
    default: {
      const report = reportOfVmm(heard);
      return report === null ? null : { kind: "vmmReported", atUnixUs, report };
    }
  }
}
