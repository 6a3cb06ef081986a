/** How many more probes a managed migration may cost a peer than the floor's worst, and the median than the floor's. */
const WORST_ALLOWANCE = 2;
const MEDIAN_ALLOWANCE = 1;

/** What one migration cost one peer. */
export interface ProbeCost {
  readonly lost: number;
  /** How many probes go out from the guest's STOP until its VMM has it loaded at the destination. */
  readonly sentUntilLoaded: number;
}

/**
 * Compares what managed migrations cost the peers with what bare QEMU cost them in the same lab, interleaved: one cost a
 * peer and migration. Returns a sentence for each bound that is broken.
 *
 * QEMU's last pass, or its load, now and then takes ten times as long as usual, under anybody's management; so the worst are
 * compared by what they cost beyond the time until the guest was loaded. The medians are compared as they are: what slows
 * QEMU down always, counts.
 */
export function judgeAgainstFloor(
  managed: readonly ProbeCost[],
  bare: readonly ProbeCost[],
): readonly string[] {
  const sentences: string[] = [];
  const worst = Math.max(...managed.map(beyondLoad));
  const worstAllowed = Math.max(...bare.map(beyondLoad)) + WORST_ALLOWANCE;
  if (worst > worstAllowed) {
    sentences.push(
      `A migration cost a peer ${worst} probes beyond those until the guest was loaded; bare QEMU's worst and ${WORST_ALLOWANCE} are ${worstAllowed}.`,
    );
  }
  const middle = median(managed.map(({ lost }) => lost));
  const middleAllowed = median(bare.map(({ lost }) => lost)) + MEDIAN_ALLOWANCE;
  if (middle > middleAllowed) {
    sentences.push(
      `The median cost is ${middle} probes; bare QEMU's and ${MEDIAN_ALLOWANCE} are ${middleAllowed}.`,
    );
  }
  return sentences;
}

function beyondLoad({ lost, sentUntilLoaded }: ProbeCost): number {
  return lost - sentUntilLoaded;
}

/** The upper one of two in the middle; NaN of nothing, which breaks no bound. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
