import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { adjustedDifference, pairedDifference, pairsForUnitWidth } from "../bench/paired-difference.ts";
import { seededRandom, shuffled } from "../bench/random.ts";

const COVERED_AT_LEAST = 0.9;

describe("a paired difference", () => {
  it("has no interval of too few pairs", () => {
    assert.deepEqual(pairedDifference([]), { n: 0, mean: null, median: null });
    assert.equal(pairedDifference([1]).mean, null);
    assert.equal(pairedDifference([1, 2, 3, 4, 5]).median, null);
    assert.notEqual(pairedDifference([1, 2, 3, 4, 5, 6]).median, null);
  });

  it("is exact where every pair differs by the same", () => {
    const same = { value: 0.5, low: 0.5, high: 0.5 };
    assert.deepEqual(pairedDifference(Array(20).fill(0.5)), { n: 20, mean: same, median: same });
  });

  it("takes the bounds of the median from the binomial distribution's table", () => {
    // For n = 10 the second lowest and second highest (97.9 %), for 20 the sixth (95.9 %), for 100 the fortieth (96.5 %).
    for (const [count, rank] of [
      [10, 2],
      [20, 6],
      [100, 40],
    ] as const) {
      const values = Array.from({ length: count }, (_, index) => index + 1);
      const { median } = pairedDifference(values.toReversed());
      assert.deepEqual(median, { value: (count + 1) / 2, low: rank, high: count + 1 - rank });
    }
  });

  it("has a mean between its bounds, which are nearer of more pairs", () => {
    const random = seededRandom(1);
    const widths = [20, 80, 320].map((count) => {
      const { mean } = pairedDifference(Array.from({ length: count }, () => normal(random)));
      assert.ok(mean !== null && mean.low < mean.value && mean.value < mean.high);
      return mean.high - mean.low;
    });
    assert.ok(widths.every((width, index) => width < (widths[index - 1] ?? Number.POSITIVE_INFINITY)));
  });

  it("covers the truth in about 95 of 100 samples, of a skewed distribution too", () => {
    const random = seededRandom(2);
    let [means, medians] = [0, 0];
    for (let sample = 0; sample < 100; sample += 1) {
      const { mean, median } = pairedDifference(
        Array.from({ length: 40 }, () => -Math.log(1 - random()) + normal(random)),
      );
      if (mean !== null && mean.low <= 1 && mean.high >= 1) means += 1;
      // The median of their sum, by integration.
      if (median !== null && median.low <= 0.885 && median.high >= 0.885) medians += 1;
    }
    assert.ok(means >= 100 * COVERED_AT_LEAST, `mean: ${means} of 100`);
    assert.ok(medians >= 100 * COVERED_AT_LEAST, `median: ${medians} of 100`);
  });

  it("needs four times as many pairs for half the width", () => {
    const estimate = { value: 0, low: -1, high: 1 };
    assert.equal(pairsForUnitWidth({ n: 25, mean: estimate, median: null }), 100);
    assert.equal(pairsForUnitWidth({ n: 1, mean: null, median: null }), null);
  });

  it("says the same of the same pairs", () => {
    const values = Array.from({ length: 30 }, (_, index) => Math.sin(index));
    assert.deepEqual(pairedDifference(values), pairedDifference(values));
  });
});

describe("a difference at an equal covariate", () => {
  it("is found beneath a covariate that differs by ten times as much from pair to pair", () => {
    const random = seededRandom(3);
    const pairs = Array.from({ length: 60 }, () => {
      const covariate = 20 * normal(random);
      return { covariate, difference: 2 + 0.7 * covariate + 0.5 * normal(random) };
    });
    const { at_equal_covariate: left, slope } = adjustedDifference(pairs);
    assert.ok(
      left !== null && left.low < 2 && left.high > 2 && left.high - left.low < 0.5,
      JSON.stringify(left),
    );
    assert.ok(slope !== null && Math.abs(slope - 0.7) < 0.05);
    const raw = pairedDifference(pairs.map(({ difference }) => difference)).mean;
    assert.ok(raw !== null && raw.high - raw.low > 5);
  });

  it("is the mean where the covariate never differs, and nothing of five pairs", () => {
    const pairs = [1, 2, 3, 4, 5, 6].map((difference) => ({ difference, covariate: 0 }));
    assert.equal(adjustedDifference(pairs).at_equal_covariate?.value, 3.5);
    assert.equal(adjustedDifference(pairs.slice(1)).at_equal_covariate, null);
  });
});

describe("an order of chance", () => {
  it("is the same for the same seed, and holds each thing once", () => {
    const things = Array.from({ length: 32 }, (_, index) => index);
    const order = shuffled(things, seededRandom(7));
    assert.deepEqual(shuffled(things, seededRandom(7)), order);
    assert.notDeepEqual(shuffled(things, seededRandom(8)), order);
    assert.notDeepEqual(order, things);
    assert.deepEqual(
      order.toSorted((a, b) => a - b),
      things,
    );
  });
});

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
