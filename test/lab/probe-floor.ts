/** How many more probes a managed migration may cost a peer than the floor's worst, and the median than the floor's. */
const WORST_ALLOWANCE = 2;
const MEDIAN_ALLOWANCE = 1;

/**
 * Compares what managed migrations cost the peers with what bare QEMU cost them in the same lab, interleaved: one
 * number a peer and migration. Returns a sentence for each bound that is broken.
 */
export function judgeAgainstFloor(
  lostManaged: readonly number[],
  lostBare: readonly number[],
): readonly string[] {
  const sentences: string[] = [];
  const worst = Math.max(...lostManaged);
  const worstAllowed = Math.max(...lostBare) + WORST_ALLOWANCE;
  if (worst > worstAllowed) {
    sentences.push(
      `A migration cost a peer ${worst} probes; bare QEMU's worst and ${WORST_ALLOWANCE} are ${worstAllowed}.`,
    );
  }
  const middle = median(lostManaged);
  const middleAllowed = median(lostBare) + MEDIAN_ALLOWANCE;
  if (middle > middleAllowed) {
    sentences.push(
      `The median cost is ${middle} probes; bare QEMU's and ${MEDIAN_ALLOWANCE} are ${middleAllowed}.`,
    );
  }
  return sentences;
}

/** The upper one of two in the middle; NaN of nothing, which breaks no bound. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
