import type { Random } from "./random.ts";

/** 2026-01-01 in microseconds: virtual times look like real ones wherever they are shown. */
export const EPOCH_UNIX_US = 1_767_225_600_000_000;

interface Entry {
  readonly atUs: number;
  /** Among entries of the same microsecond the seed decides. */
  readonly tie: number;
  /** Undefined once it was cancelled. */
  fire: (() => void) | undefined;
}

/** Virtual time: what is to happen, and when. Times are microseconds since the run began. */
export class Timeline {
  readonly #heap: Entry[] = [];
  readonly #random: Random;
  #nowUs = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get nowUs(): number {
    return this.#nowUs;
  }

  /** Calls `fire` once after `delayUs`; the returned function prevents that. */
  after(delayUs: number, fire: () => void): () => void {
    const entry: Entry = { atUs: this.#nowUs + Math.max(0, delayUs), tie: this.#random.next(), fire };
    this.#push(entry);
    return () => {
      entry.fire = undefined;
    };
  }

  /** Makes the next thing happen, if one is left that is not after `untilUs`; time is then where it happened. */
  step(untilUs: number): "happened" | "nothing left" {
    for (;;) {
      const [first] = this.#heap;
      if (first === undefined || first.atUs > untilUs) {
        this.#nowUs = Math.max(this.#nowUs, untilUs);
        return "nothing left";
      }
      this.#pop();
      const { fire } = first;
      if (fire === undefined) continue;
      this.#nowUs = first.atUs;
      first.fire = undefined;
      fire();
      return "happened";
    }
  }

  /** Nothing more happens. */
  clear(): void {
    this.#heap.length = 0;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, below)) {
        child += 1;
        below = right;
      }
      if (!isBefore(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(left: Entry, right: Entry): boolean {
  return left.atUs < right.atUs || (left.atUs === right.atUs && left.tie < right.tie);
}
