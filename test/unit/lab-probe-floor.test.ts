import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { judgeAgainstFloor } from "../lab/probe-floor.ts";

/** Of migrations in which QEMU itself takes the time of so many probes. */
const costs = (lost: readonly number[], sentUntilLoaded = 1) =>
  lost.map((each) => ({ lost: each, sentUntilLoaded }));

describe("the floor of lost probes", () => {
  it("allows two more than bare QEMU's worst and one more than its median", () => {
    assert.deepEqual(judgeAgainstFloor(costs([1, 2, 2, 4]), costs([1, 1, 1, 2])), []);
  });

  it("is broken by one migration that cost three more than the worst", () => {
    assert.equal(judgeAgainstFloor(costs([1, 1, 1, 5]), costs([1, 1, 1, 2])).length, 1);
  });

  it("is broken by a median of two more", () => {
    assert.equal(judgeAgainstFloor(costs([1, 3, 3, 3]), costs([1, 1, 1, 2])).length, 1);
  });

  it("is not broken by one migration in which QEMU itself took the time of all that it cost more", () => {
    const managed = [...costs([1, 1, 1]), ...costs([45], 44)];
    assert.deepEqual(judgeAgainstFloor(managed, costs([1, 1, 1, 2])), []);
    assert.equal(judgeAgainstFloor([...costs([1, 1, 1]), ...costs([48], 44)], costs([1, 1, 1, 2])).length, 1);
  });

  it("counts in the median what QEMU itself took", () => {
    assert.equal(judgeAgainstFloor(costs([5, 5, 5], 5), costs([1, 1, 1, 2])).length, 1);
  });
});
