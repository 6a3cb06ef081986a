import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { benchmarksDocument } from "../bench/document/benchmarks-document.ts";
import { judgeTargets, type Measurements, type Target } from "../bench/document/targets.ts";
import { figureOf } from "../bench/micro/figure.ts";
import type { Measured } from "../bench/switchover/measured.ts";
import { summarize } from "../bench/switchover/summary.ts";

const ROUNDS = 12;

/** As many rounds of one row, in which Switchover cost so much more than the floor. */
function measured(more: {
  readonly overMs: number;
  readonly addedMs: number;
  readonly duplicateUs: number;
}): Measurements {
  const lines = Array.from({ length: ROUNDS }, (_, round): readonly Measured[] => {
    const floor: Measured = {
      ...{ device: "tap", nics: 8, mode: "live", contender: "bare", round, seed: 1, guest_alive: true },
      ...{ blackout_ms: 20 + round, blackout_ms_of: {}, qemu_ms: 5, stop_to_resume_ms: 5 },
      ...{ added_ms: null, stop_to_deregistered_us: null, ready_to_cont_us: null, duplicate_us: null },
    };
    const own: Measured = {
      ...floor,
      contender: "switchover",
      blackout_ms: 20 + round + more.overMs,
      added_ms: more.addedMs,
      stop_to_deregistered_us: 400,
      ready_to_cont_us: 300,
      duplicate_us: more.duplicateUs,
    };
    return [floor, own];
  }).flat();
  const figures = [
    figureOf("agent, an entry of 64 in one send", "us", [3]),
    figureOf("forked bridge", "us", [1_500]),
  ];
  return { switchover: summarize(lines), micro: [{ part: "fdb", machine: "2 x CPU", figures }], scale: [] };
}

const verdictOf = (targets: readonly Target[], what: RegExp) =>
  targets.find((target) => what.test(target.what))?.verdict;

describe("the page of benchmarks", () => {
  it("calls met what is within the design's numbers", () => {
    const targets = judgeTargets(measured({ overMs: 0.5, addedMs: 0.4, duplicateUs: 0 }));
    for (const what of [/deregistered/, /`cont` sent/, /^added/, /peer.*, tap/, /two instances/, /FDB/]) {
      assert.equal(verdictOf(targets, what), "met", String(what));
    }
  });

  it("calls not met what is beyond them", () => {
    const targets = judgeTargets(measured({ overMs: 1.5, addedMs: 1.2, duplicateUs: 7 }));
    for (const what of [/^added/, /peer.*, tap/, /two instances/]) {
      assert.equal(verdictOf(targets, what), "not met", String(what));
    }
  });

  it("claims nothing of what was not measured", () => {
    const targets = judgeTargets(measured({ overMs: 0, addedMs: 0, duplicateUs: 0 }));
    for (const what of [/macvtap/, /rollback/, /agent restart/, /coordinator/]) {
      assert.equal(verdictOf(targets, what), "not measured here", String(what));
    }
  });

  it("has each target, each row and each figure in a table", () => {
    const page = benchmarksDocument(
      measured({ overMs: 0.5, addedMs: 0.4, duplicateUs: 0 }),
      "Idle.",
      new Date(0),
    );
    assert.match(
      page,
      /\| MAC on two instances at once \| 0, in every run \| 0 us in 12 witnessed migrations \| met \|/,
    );
    assert.match(page, /\| tap, 8 NICs, live \| switchover \| 12 \|.*\+0\.50 \[\+0\.50, \+0\.50\]/);
    assert.match(page, /\| forked bridge \| us \| 1500 \|/);
    assert.match(page, /Written on 1970-01-01\.\nMachine: 2 x CPU\. Idle\./);
  });
});
