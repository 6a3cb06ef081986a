import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, it } from "node:test";
import { simulate } from "./simulate.ts";
import { totalsLine } from "./totals.ts";

const RUNS = 100_000;

describe("the real coordinator and agents in a simulated world", () => {
  it(`hold every invariant in ${RUNS} schedules`, async (test) => {
    const beganAt = performance.now();
    const workers = availableParallelism();
    const { totals, failures } = await simulate({ runs: RUNS, seed: 1, workers, rule: undefined });
    test.diagnostic(totalsLine(totals, (performance.now() - beganAt) / 1_000, failures.length));
    assert.deepEqual(failures, []);
    assert.equal(totals.runs, RUNS);
  });
});
