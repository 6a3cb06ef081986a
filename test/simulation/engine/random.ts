/** Numbers that a seed alone decides (sfc32). Everything random in a run comes from one of these. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** Streams of one seed with different labels share nothing, so that a draw more in one changes no other. */
  constructor(seed: number, label = 0) {
    this.#a = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 0;
    this.#b = (Math.floor(seed / 2 ** 32) ^ 0x6a09e667) | 0;
    this.#c = Math.imul(label + 1, 0xc2b2ae35) | 0;
    for (let round = 0; round < 12; round++) this.#draw();
  }

  #draw(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    return this.#draw() / 2 ** 32;
  }

  /** A whole number from 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** A whole number from `from` up to and with `to`. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** As `between`, but every power of ten is as likely as the next: short times often, long ones too. */
  spread(from: number, to: number): number {
    return Math.round(from * (to / from) ** this.next());
  }

  pick<T>(first: T, ...others: readonly T[]): T {
    const index = this.below(others.length + 1);
    return index === 0 ? first : (others[index - 1] ?? first);
  }
}
