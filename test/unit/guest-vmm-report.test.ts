import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { guestEventOfVmm } from "../../agent/guest/guest-event-of-vmm.ts";
import type { VmmEventBody } from "../../agent/vmm/vmm-event.ts";

function heard(body: VmmEventBody): string {
  const event = guestEventOfVmm({ ...body, atUnixUs: 900, receivedAtUnixUs: 1_000 });
  if (event?.kind !== "vmmReported") return event?.kind ?? "nothing";
  assert.equal(event.report.happenedAtUnixUs, 900n);
  const { action, cause, device } = event.report;
  return [event.report.event, cause, action, device].filter((word) => word !== "").join(" ");
}

const EVENTS: readonly (readonly [VmmEventBody, string])[] = [
  [{ kind: "suspend" }, "cpusStopped"],
  [{ kind: "wakeup" }, "wakeupHeard"],
  [{ kind: "startRefused", sentence: "The disk is locked." }, "contRefused"],
  [{ kind: "shutdown", by: "guest", reason: "guest-shutdown" }, "SHUTDOWN guest-shutdown"],
  [{ kind: "reset", by: "host", reason: "host-qmp-system-reset" }, "RESET host-qmp-system-reset"],
  [{ kind: "powerdown" }, "POWERDOWN"],
  [{ kind: "guestPanicked", action: "pause" }, "GUEST_PANICKED pause"],
  [{ kind: "guestPanicked", action: "run" }, "nothing"],
  [{ kind: "watchdog", action: "pause" }, "WATCHDOG pause"],
  [{ kind: "watchdog", action: "none" }, "nothing"],
  [
    { kind: "blockIoError", device: "disk0", action: "stop", reason: "No space left on device" },
    "BLOCK_IO_ERROR No space left on device stop disk0",
  ],
  [{ kind: "blockIoError", device: "disk0", action: "report", reason: "Input/output error" }, "nothing"],
];

describe("what a VMM says of its guest", () => {
  for (const [body, expected] of EVENTS) {
    it(`${JSON.stringify(body)} is ${expected}`, () => assert.equal(heard(body), expected));
  }
});
