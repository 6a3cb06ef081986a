import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type GatedVmm, operateVmm } from "../../agent/guest/gated-vmm.ts";
import type { VmmHeard } from "../../agent/guest/guest-event.ts";
import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";

/** What the gate hears of a start that fails so. */
function heardOfStart(code: ErrorCode, reason: string, outcome?: string): string {
  const metadata: Record<string, string> = outcome === undefined ? {} : { outcome };
  const error = new SwitchoverError(code, "No.", { reason, metadata });
  const heard: VmmHeard[] = [];
  const vmm = {
    sendCont: (onAnswer) => onAnswer({ kind: "failed", error, sentAtUnixUs: 0, receivedAtUnixUs: 0 }),
  } satisfies Pick<GatedVmm, "sendCont"> as unknown as GatedVmm;
  const hear = (what: VmmHeard): void => void heard.push(what);
  operateVmm(vmm, { kind: "sendCont" }, { hear, warn: () => {}, setTimer: () => {} });
  return heard.flatMap((what) => (what.kind === "contRefused" ? [what.outcome] : [])).join();
}

describe("a start that was not answered with yes", () => {
  it("was refused where the VMM says so, or never got the order", () => {
    assert.equal(heardOfStart("FAILED_PRECONDITION", "QMP_REFUSED"), "refused");
    assert.equal(heardOfStart("DEADLINE_EXCEEDED", "QMP_TIMEOUT", "not-sent"), "refused");
    assert.equal(heardOfStart("RESOURCE_EXHAUSTED", "QMP_QUEUE_FULL", "not-sent"), "refused");
  });

  it("may come yet where the VMM says nothing", () => {
    assert.equal(heardOfStart("DEADLINE_EXCEEDED", "QMP_TIMEOUT", "unknown"), "unknown");
    assert.equal(heardOfStart("UNAVAILABLE", "QMP_CLOSED"), "unknown");
  });
});
