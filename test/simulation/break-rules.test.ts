import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { simulate } from "./simulate.ts";
import { BREAK_RULES, type BreakRule } from "./world/break-rules.ts";
import type { InvariantName } from "./world/invariants.ts";

const RUNS = 10_000;

/** Which invariants a broken rule may break first. */
const BROKEN_BY: Readonly<Record<BreakRule, readonly InvariantName[]>> = {
  "epoch-check": ["I4", "I6", "I8"],
  "revision-check": ["I6"],
  "hand-off-wait": ["I1", "I4", "I8"],
  // Who starts a guest before it is loaded owns it, and loses it where the load fails.
  "ready-check": ["I3", "I8"],
  "journal-before-word": ["I8"],
  "hand-back-after-cont": ["I4", "I8"],
  "cancel-order": ["I4", "I8"],
  "paused-guest": ["I8"],
  guard: ["I4", "I5"],
  replace: ["I5", "I8"],
  sticky: ["I2", "I5"],
  "source-deregister": ["I1", "I3"],
};

describe("the simulation", () => {
  for (const rule of BREAK_RULES) {
    it(`finds within ${RUNS} schedules that ${rule} is broken`, async () => {
      const workers = availableParallelism();
      const { failures } = await simulate({ runs: RUNS, seed: 1, workers, rule });
      const [failure] = failures;
      assert.ok(failure !== undefined, "nothing was found");
      const { invariant, sentence } = failure.violation;
      assert.ok(BROKEN_BY[rule].includes(invariant), `seed ${failure.seed}: ${invariant}: ${sentence}`);
    });
  }
});
