import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { judgeAgainstFloor } from "../lab/probe-floor.ts";

describe("the floor of lost probes", () => {
  it("allows two more than bare QEMU's worst and one more than its median", () => {
    assert.deepEqual(judgeAgainstFloor([1, 2, 2, 4], [1, 1, 1, 2]), []);
  });

  it("is broken by one migration that cost three more than the worst", () => {
    assert.equal(judgeAgainstFloor([1, 1, 1, 5], [1, 1, 1, 2]).length, 1);
  });

  it("is broken by a median of two more", () => {
    assert.equal(judgeAgainstFloor([1, 3, 3, 3], [1, 1, 1, 2]).length, 1);
  });
});
