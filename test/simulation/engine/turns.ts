/** Turns of the event loop that are asked for ahead: Node comes round once for all of them, not once for each. */
const AHEAD = 64;

/** Lets all promises come to rest, again and again: between two turns nothing that can go on is left. */
export class Turns {
  #ahead = 0;
  #resolve: () => void = () => {};

  next(): Promise<void> {
    if (this.#ahead === 0) {
      this.#ahead = AHEAD;
      for (let count = 0; count < AHEAD; count += 1) setImmediate(() => this.#come());
    }
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  #come(): void {
    this.#ahead -= 1;
    const resolve = this.#resolve;
    this.#resolve = () => {};
    resolve();
  }
}
