/**
 * What fences one command, event or word against those of other attempts.
 *
 * The epoch names one migration attempt; the revision counts the commits of the guest's record within it.
 * A lower epoch, or an older revision of the same epoch, changes nothing, whenever it arrives.
 */
export interface Fence {
  readonly epoch: bigint;
  readonly revision: bigint;
}

export const FENCE_ZERO: Fence = { epoch: 0n, revision: 0n };

/** Negative where `left` is older than `right`, positive where it is newer, zero where they are the same. */
export function compareFences(left: Fence, right: Fence): number {
  if (left.epoch !== right.epoch) return left.epoch < right.epoch ? -1 : 1;
  if (left.revision !== right.revision) return left.revision < right.revision ? -1 : 1;
  return 0;
}
