/**
 * Of all that it is offered, in any order, the first ones in an order of their own: so that a page is found in one pass
 * over more than fits in memory. A key that is offered again changes nothing.
 */
export class FirstOnes<Item> {
  readonly #atMost: number;
  readonly #keyOf: (item: Item) => string;
  readonly #compare: (left: Item, right: Item) => number;
  readonly #items: Item[] = [];
  readonly #keys = new Set<string>();
  #others: "none" | "some" = "none";

  constructor(atMost: number, keyOf: (item: Item) => string, compare: (left: Item, right: Item) => number) {
    this.#atMost = atMost;
    this.#keyOf = keyOf;
    this.#compare = compare;
  }

  offer(item: Item): void {
    const key = this.#keyOf(item);
    if (this.#keys.has(key)) return;
    const at = this.#placeOf(item);
    if (at >= this.#atMost) {
      this.#others = "some";
      return;
    }
    this.#items.splice(at, 0, item);
    this.#keys.add(key);
    if (this.#items.length <= this.#atMost) return;
    const last = this.#items.pop();
    if (last !== undefined) this.#keys.delete(this.#keyOf(last));
    this.#others = "some";
  }

  /** The first ones, in order. */
  get items(): readonly Item[] {
    return this.#items;
  }

  /** Whether there were others, which come after these. */
  get others(): "none" | "some" {
    return this.#others;
  }

  #placeOf(item: Item): number {
    let [from, to] = [0, this.#items.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const there = this.#items[middle];
      if (there !== undefined && this.#compare(there, item) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}
