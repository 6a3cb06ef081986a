import { seededRandom } from "./random.ts";

/** An estimate with the bounds of its 95 % interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** What one thing costs more than another that was measured beside it, pair by pair; null of fewer than two pairs. */
export interface PairedDifference {
  readonly n: number;
  /** Its interval: percentiles of 10,000 means of pairs drawn anew (bootstrap). */
  readonly mean: Estimate | null;
  /** Its interval: order statistics by the binomial distribution, true of any distribution; null of fewer than six pairs. */
  readonly median: Estimate | null;
}

/** So many pairs as these would make the mean's interval a millisecond wide, where its unit is one; null where it is unknown. */
export function pairsForUnitWidth({ mean, n }: PairedDifference): number | null {
  return mean === null ? null : Math.ceil(n * (mean.high - mean.low) ** 2);
}

/** What is left of a difference where a covariate of both does not differ: the intercept of a line through the pairs. */
export interface AdjustedDifference {
  readonly n: number;
  /** Its interval: percentiles of 10,000 fits to pairs drawn anew; null of fewer than six pairs. */
  readonly at_equal_covariate: Estimate | null;
  /** How much of a difference of the covariate comes through. */
  readonly slope: number | null;
}

/** One pair: by how much it differs, and by how much its covariate does. */
export interface CovariedDifference {
  readonly difference: number;
  readonly covariate: number;
}

const RESAMPLES = 10_000;
const LEAST_PAIRS_OF_A_LINE = 6;
const TAIL = 0.025;
/** The same figures come of the same pairs. */
const SEED = 20_140_601;

export function pairedDifference(differences: readonly number[]): PairedDifference {
  return { n: differences.length, mean: meanOf(differences), median: medianOf(differences) };
}

/** The covariate must be what neither side can change, or the line takes from one of them what is its own. */
export function adjustedDifference(pairs: readonly CovariedDifference[]): AdjustedDifference {
  const count = pairs.length;
  if (count < LEAST_PAIRS_OF_A_LINE) return { n: count, at_equal_covariate: null, slope: null };
  const random = seededRandom(SEED);
  const intercepts = Array.from({ length: RESAMPLES }, () => {
    const drawn = Array.from(
      { length: count },
      () => pairs[Math.floor(random() * count)] as CovariedDifference,
    );
    return lineThrough(drawn).intercept;
  });
  const { intercept, slope } = lineThrough(pairs);
  return { n: count, at_equal_covariate: { value: intercept, ...middleOf(intercepts) }, slope };
}

/** By least squares; level where the covariate never differs. */
function lineThrough(pairs: readonly CovariedDifference[]): {
  readonly intercept: number;
  readonly slope: number;
} {
  const count = pairs.length;
  let [sumX, sumY] = [0, 0];
  for (const { covariate, difference } of pairs) {
    sumX += covariate;
    sumY += difference;
  }
  const [meanX, meanY] = [sumX / count, sumY / count];
  let [xx, xy] = [0, 0];
  for (const { covariate, difference } of pairs) {
    xx += (covariate - meanX) ** 2;
    xy += (covariate - meanX) * (difference - meanY);
  }
  const slope = xx === 0 ? 0 : xy / xx;
  return { intercept: meanY - slope * meanX, slope };
}

function middleOf(resampled: readonly number[]): { readonly low: number; readonly high: number } {
  const sorted = resampled.toSorted((left, right) => left - right);
  return {
    low: sorted[Math.floor(RESAMPLES * TAIL)] ?? Number.NaN,
    high: sorted[Math.ceil(RESAMPLES * (1 - TAIL)) - 1] ?? Number.NaN,
  };
}

function meanOf(values: readonly number[]): Estimate | null {
  const count = values.length;
  if (count < 2) return null;
  const random = seededRandom(SEED);
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let drawn = 0; drawn < count; drawn += 1) sum += values[Math.floor(random() * count)] ?? 0;
    return sum / count;
  });
  return { value: values.reduce((sum, value) => sum + value, 0) / count, ...middleOf(means) };
}

function medianOf(values: readonly number[]): Estimate | null {
  const rank = signRank(values.length);
  if (rank === 0) return null;
  const sorted = values.toSorted((left, right) => left - right);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  const middle = (values.length - 1) / 2;
  return {
    value: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    low: at(rank - 1),
    high: at(values.length - rank),
  };
}

/** The highest k for which the k-th lowest and k-th highest of n values hold the median in 95 % of samples; 0 where none does. */
function signRank(count: number): number {
  let probability = 0.5 ** count;
  let below = 0;
  let rank = 0;
  while (rank < count) {
    below += probability;
    if (below > TAIL) break;
    probability *= (count - rank) / (rank + 1);
    rank += 1;
  }
  return rank;
}
