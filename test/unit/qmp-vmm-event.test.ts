import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseMigrationStatus } from "../../agent/vmm/migration-status.ts";
import { parseRunState } from "../../agent/vmm/run-state.ts";
import { toVmmEvent, type VmmEventBody } from "../../agent/vmm/vmm-event.ts";

const TIMES = { atUnixUs: 1, receivedAtUnixUs: 2 };

const EXPECTED: readonly (readonly [string, Readonly<Record<string, unknown>>, VmmEventBody])[] = [
  ["STOP", {}, { kind: "stop" }],
  ["RESUME", {}, { kind: "resume" }],
  [
    "MIGRATION",
    { status: "postcopy-active" },
    { kind: "migrationStatusChanged", status: "postcopy-active", statusText: "postcopy-active" },
  ],
  [
    "MIGRATION",
    { status: "teleporting" },
    { kind: "migrationStatusChanged", status: "unknown", statusText: "teleporting" },
  ],
  ["MIGRATION", {}, { kind: "other", name: "MIGRATION", data: {} }],
  ["MIGRATION_PASS", { pass: 2 }, { kind: "migrationPassed", pass: 2 }],
  ["MIGRATION_PASS", { pass: "2" }, { kind: "other", name: "MIGRATION_PASS", data: { pass: "2" } }],
  [
    "SHUTDOWN",
    { guest: true, reason: "guest-shutdown" },
    { kind: "shutdown", by: "guest", reason: "guest-shutdown" },
  ],
  [
    "SHUTDOWN",
    { guest: false, reason: "host-qmp-quit" },
    { kind: "shutdown", by: "host", reason: "host-qmp-quit" },
  ],
  ["RESET", { guest: true, reason: "guest-reset" }, { kind: "reset", by: "guest", reason: "guest-reset" }],
  ["POWERDOWN", {}, { kind: "powerdown" }],
  ["GUEST_PANICKED", { action: "pause" }, { kind: "guestPanicked", action: "pause" }],
  [
    "BLOCK_IO_ERROR",
    { device: "disk0", operation: "write", action: "stop", reason: "No space left on device" },
    { kind: "blockIoError", device: "disk0", action: "stop", reason: "No space left on device" },
  ],
  ["WATCHDOG", { action: "pause" }, { kind: "watchdog", action: "pause" }],
  ["SUSPEND", {}, { kind: "suspend" }],
  ["WAKEUP", {}, { kind: "wakeup" }],
  [
    "BLOCK_IO_ERROR",
    { device: "", "node-name": "disk0", action: "stop", reason: "No space left on device" },
    { kind: "blockIoError", device: "disk0", action: "stop", reason: "No space left on device" },
  ],
  ["RTC_CHANGE", { offset: 1 }, { kind: "other", name: "RTC_CHANGE", data: { offset: 1 } }],
];

describe("the event mapping", () => {
  for (const [name, data, body] of EXPECTED) {
    it(`reads ${name} ${JSON.stringify(data)} as ${body.kind}`, () => {
      assert.deepEqual(toVmmEvent({ name, data, ...TIMES }), { ...TIMES, ...body });
    });
  }
});

describe("QEMU's words for states", () => {
  it("are kept where they are known", () => {
    assert.equal(parseRunState("finish-migrate"), "finish-migrate");
    for (const status of ["postcopy-device", "postcopy-recover-setup", "failing"]) {
      assert.equal(parseMigrationStatus(status), status);
    }
  });

  it("are unknown where they are not", () => {
    assert.equal(parseRunState("levitating"), "unknown");
    assert.equal(parseMigrationStatus("teleporting"), "unknown");
  });
});
