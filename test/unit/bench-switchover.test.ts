import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { blackoutsOf, type Measured } from "../bench/switchover/measured.ts";
import { type Item, planBlocks, type Selection } from "../bench/switchover/plan.ts";
import { summarize } from "../bench/switchover/summary.ts";
import { summaryCells } from "../bench/switchover/summary-table.ts";

const ALL: Selection = {
  contenders: ["bare", "switchover", "shell", "early"],
  modes: ["live", "post-copy"],
  nics: [1, 8],
  devices: ["tap", "macvtap"],
  count: 3,
  seed: 5,
};

describe("the plan of a comparison", () => {
  const blocks = planBlocks(ALL);

  it("has one block for each attachment, and in each of its rounds every contender and mode once", () => {
    assert.equal(blocks.length, 4);
    for (const { device, items, nics } of blocks) {
      const kinds = device === "tap" ? 8 : 6;
      assert.equal(items.length, 3 * kinds);
      assert.ok(items.every((item) => item.device === device && item.nics === nics));
      for (let round = 0; round < 3; round += 1) {
        const ofRound = items.slice(round * kinds, (round + 1) * kinds);
        assert.ok(ofRound.every((item) => item.round === round));
        assert.equal(new Set(ofRound.map(({ contender, mode }) => `${contender} ${mode}`)).size, kinds);
      }
    }
  });

  it("has an order that its seed alone decides", () => {
    assert.deepEqual(planBlocks(ALL), blocks);
    assert.notDeepEqual(planBlocks({ ...ALL, seed: 6 }), blocks);
  });

  it("has no early macvtaps, which are what QEMU alone has", () => {
    const macvtaps = blocks.flatMap(({ items }) => items).filter(({ device }) => device === "macvtap");
    assert.ok(macvtaps.every(({ contender }) => contender !== "early"));
  });
});

describe("a blackout", () => {
  const times = { stopAtUnixUs: 1_000_000, readyAtUnixUs: 1_005_000, resumeAtUnixUs: 1_006_000 };
  const probe = (seq: number, sentAtUnixUs: number, repliedAtUnixUs: number | undefined) => ({
    seq,
    sentAtUnixUs,
    repliedAtUnixUs,
  });
  const everyMs = Array.from({ length: 600 }, (_, index) => 850_000 + 1_000 * index);
  const blackout = (reply: (sentAt: number) => number | undefined) => {
    const probes = everyMs.map((at, seq) => probe(seq, at, reply(at)));
    return blackoutsOf(times, [{ peer: "pa", sent: 0, lost: 0, longestGapMs: 0, probes }]).pa;
  };

  it("is the time between the last reply before the switch and the first one after", () => {
    assert.equal(
      blackout((at) => (at < 1_000_000 || at >= 1_020_000 ? at + 500 : undefined)),
      21,
    );
  });

  it("is not another silence, long before the switch", () => {
    assert.equal(
      blackout((at) =>
        (at > 855_000 && at < 895_000) || (at >= 999_000 && at < 1_009_000) ? undefined : at + 500,
      ),
      11,
    );
  });

  it("is as long as the watch where nobody answers any more", () => {
    assert.equal(
      blackout((at) => (at < 1_000_000 ? at : undefined)),
      407,
    );
  });
});

describe("the summary of a comparison", () => {
  const line = (item: Partial<Item>, blackoutMs: number, more: Partial<Measured> = {}): Measured => ({
    ...{ device: "tap", nics: 1, mode: "live", contender: "bare", round: 0, ...item },
    seed: 1,
    guest_alive: true,
    blackout_ms: blackoutMs,
    blackout_ms_of: {},
    qemu_ms: 5,
    stop_to_resume_ms: 6,
    added_ms: null,
    stop_to_deregistered_us: null,
    ready_to_cont_us: null,
    duplicate_us: null,
    ...more,
  });

  it("compares what was measured in the same round, row and run, and nothing else", () => {
    const lines = [10, 20, 30].flatMap((floorMs, round) => [
      line({ round }, floorMs),
      line({ round, contender: "switchover" }, floorMs + 2, { qemu_ms: 6.5 }),
    ]);
    const strangers = [
      line({ round: 7, contender: "switchover" }, 1_000),
      line({ round: 0, contender: "switchover" }, 1_000, { seed: 2 }),
      line({ round: 0, mode: "post-copy" }, 1_000),
    ];
    const { rows } = summarize([...lines, ...strangers]);
    const over = rows.find(({ contender }) => contender === "switchover")?.over_floor;
    assert.deepEqual(over?.blackout_ms.mean, { value: 2, low: 2, high: 2 });
    assert.equal(over?.blackout_ms.n, 3);
    assert.equal(over?.blackout_at_equal_qemu_ms.n, 3);
    assert.equal(
      rows.find(({ contender, mode }) => contender === "bare" && mode === "live")?.over_floor,
      null,
    );
  });

  it("leaves out guests that the emulator killed, and tells how many", () => {
    const [row] = summarize([line({}, 10), line({ round: 1 }, 9_999, { guest_alive: false })]).rows;
    assert.equal(row?.n, 1);
    assert.equal(row?.died, 1);
    assert.equal(row?.blackout_ms.max, 10);
    assert.ok(row !== undefined && summaryCells(row).includes("1 (1 died)"));
  });
});
