import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { completeReport, isOvertaken, type VmmReport } from "../../agent/vmm/vmm-report.ts";

/** `running active` or `stopped paused -`: CPUs, run state of those that stand, transfer status. */
function reportOf(text: string, observedAtUnixUs = 0): VmmReport {
  const [cpus, ...words] = text.split(" ");
  const [runState, transferStatus] = cpus === "running" ? ["running", words[0]] : words;
  return {
    cpus: cpus === "running" ? "running" : "stopped",
    runState: runState === "-" ? "" : (runState ?? ""),
    transferStatus: transferStatus === "-" ? "" : (transferStatus ?? ""),
    observedAtUnixUs,
  };
}

describe("what an owner leaves unsaid", () => {
  for (const [before, told, transfer, expected] of [
    // A stop that nobody explains is an owner's, unless a transfer is under way.
    ["running none", "stopped - -", "none", "stopped paused none"],
    ["running completed", "stopped - -", "none", "stopped paused completed"],
    ["running none", "stopped - -", "begun", "stopped finish-migrate none"],
    ["running active", "stopped - -", "none", "stopped finish-migrate active"],
    ["running active", "stopped paused -", "begun", "stopped paused active"],
    // The end of a transfer ends the switchover's stop.
    ["running active", "stopped - completed", "begun", "stopped postmigrate completed"],
    ["stopped finish-migrate active", "stopped - completed", "begun", "stopped postmigrate completed"],
    ["stopped finish-migrate active", "stopped - failed", "begun", "stopped postmigrate failed"],
    ["stopped finish-migrate active", "stopped - -", "begun", "stopped finish-migrate active"],
    [
      "stopped finish-migrate active",
      "stopped finish-migrate completed",
      "begun",
      "stopped postmigrate completed",
    ],
    // QEMU may be about to resume: its owner says so.
    [
      "stopped finish-migrate active",
      "stopped finish-migrate failed",
      "begun",
      "stopped finish-migrate failed",
    ],
    // An owner's stop stays one.
    ["stopped paused active", "stopped - completed", "begun", "stopped paused completed"],
    // A destination is loaded when its transfer is complete; in post-copy its owner says when.
    ["stopped inmigrate none", "stopped - active", "none", "stopped inmigrate active"],
    ["stopped inmigrate active", "stopped - completed", "none", "stopped paused completed"],
    ["stopped inmigrate active", "stopped - postcopy-active", "none", "stopped inmigrate postcopy-active"],
    ["stopped inmigrate active", "stopped paused postcopy-active", "none", "stopped paused postcopy-active"],
    ["stopped paused none", "running -", "none", "running none"],
  ] as const) {
    it(`${before}, told "${told}"${transfer === "begun" ? ", with a transfer to begin" : ""}: ${expected}`, () => {
      assert.deepEqual(completeReport(reportOf(before), reportOf(told), transfer), reportOf(expected));
    });
  }
});

describe("a report that was overtaken", () => {
  it("is older than the last one, where both tell when, and the clock did not step back between", () => {
    const told = (at: number) => reportOf("running -", at);
    assert.equal(isOvertaken(told(10), told(20), 30), true);
    assert.equal(isOvertaken(told(20), told(20), 30), false);
    assert.equal(isOvertaken(told(0), told(20), 30), false);
    assert.equal(isOvertaken(told(10), told(0), 30), false);
    assert.equal(isOvertaken(told(10), told(20), 15), false);
  });
});
