/** Turns of the event loop that are asked for ahead: Node comes round once for all of them, not once for each. */
const AHEAD = 64;

/** Lets all promises come to rest, again and again: between two turns nothing that can go on is left. */
export class Turns {
  #ahead = 0;
  #work: () => void = () => {};
  readonly #come = () => {
    this.#ahead -= 1;
    const work = this.#work;
    this.#work = () => {};
    work();
  };

  /** Calls `work` in the next turn. */
  next(work: () => void): void {
    this.#work = work;
    if (this.#ahead > 0) return;
    this.#ahead = AHEAD;
    for (let count = 0; count < AHEAD; count += 1) setImmediate(this.#come);
  }
}
