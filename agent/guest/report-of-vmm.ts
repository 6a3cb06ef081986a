import type { VmmReported } from "../../proto/gen/switchover/v1/feed.ts";
import type { VmmEvent } from "../vmm/vmm.ts";

/**
 * What the feed is told of a VMM's event; null where that is nothing. A guest can write to its panic device, and to a
 * broken disk, as often as it likes: those are told only where its CPUs stop for it.
 */
export function reportOfVmm(heard: VmmEvent): VmmReported | null {
  const told = (event: string, words: Partial<VmmReported>): VmmReported => ({
    ...{ event, cause: "", action: "", device: "" },
    ...words,
    happenedAtUnixUs: BigInt(heard.atUnixUs),
  });
  switch (heard.kind) {
    case "shutdown":
      return told("SHUTDOWN", { cause: heard.reason });
    case "reset":
      return told("RESET", { cause: heard.reason });
    case "powerdown":
      return told("POWERDOWN", {});
    case "guestPanicked":
      return heard.action === "run" ? null : told("GUEST_PANICKED", { action: heard.action });
    case "blockIoError": {
      const { action, device, reason: cause } = heard;
      return action === "stop" ? told("BLOCK_IO_ERROR", { cause, action, device }) : null;
    }
    case "watchdog":
      return ["none", "inject-nmi"].includes(heard.action)
        ? null
        : told("WATCHDOG", { action: heard.action });
    default:
      return null;
  }
}
