/** A key's last change. */
interface Changed {
  /** JSON of [kind, id]. */
  readonly key: string;
  readonly revision: number;
  /** JSON; null: gone. */
  readonly value: string | null;
}

/** Changes after a revision, oldest first. */
export interface ChangeSlice {
  /** "start": the reader's revision is too old to go on from, and these begin with everything. */
  readonly from: "start" | "after";
  /** Where to go on. */
  readonly revision: number;
  readonly more: boolean;
  /** JSON of [kind, id, value]. */
  readonly changes: readonly string[];
}

/** How many keys that are gone are remembered for readers who still have them. */
const GONE_AT_MOST = 10_000;

const ORDER_SLACK = 64;
/** Of a slice; what makes it larger is its last change. */
const SLICE_SIZE = 256 * 1024;

/**
 * The last state of each key, in the order of their last changes: whoever has read up to a revision reads on from there,
 * after however long, and gets each key that has changed once. It holds one value a key, and is bounded by whoever puts
 * keys in. Pure data.
 */
export class ChangeLog {
  readonly #keys = new Map<string, Changed>();
  /** In the order of revisions, with some that were changed again since, at most as many as there are keys. */
  #order: Changed[] = [];
  readonly #gone = new Set<string>();
  #revision = 0;
  #tell: () => void = () => {};
  /** Somebody who has read less than this may have keys that are gone, and is not told which. */
  #forgotten = 0;

  get revision(): number {
    return this.#revision;
  }

  /** Calls `listener`, the only one, after each change from now on. */
  onChange(listener: () => void): void {
    this.#tell = listener;
  }

  /** Whether that was a change. */
  put(kind: string, id: string, value: object): boolean {
    const key = JSON.stringify([kind, id]);
    const text = JSON.stringify(value);
    if (this.#keys.get(key)?.value === text) return false;
    this.#gone.delete(key);
    this.#set(key, text);
    return true;
  }

  /** Whether it was there. */
  remove(kind: string, id: string): boolean {
    const key = JSON.stringify([kind, id]);
    const known = this.#keys.get(key);
    if (known === undefined || known.value === null) return false;
    this.#set(key, null);
    this.#gone.add(key);
    if (this.#gone.size > GONE_AT_MOST) this.#forgetOldest();
    return true;
  }

  /**
   * Up to `atMost` of what has changed after the revision, and no more beyond 256 Ki characters; an unknown revision, as
   * of another log, is to be given as 0.
   */
  after(revision: number, atMost: number): ChangeSlice {
    const from =
      revision === 0 || revision < this.#forgotten || revision > this.#revision ? "start" : "after";
    const begin = from === "start" ? 0 : revision;
    const changes: string[] = [];
    let last = begin;
    let size = 0;
    for (let index = this.#firstAfter(begin); index < this.#order.length; index++) {
      const changed = this.#order[index];
      if (changed === undefined || this.#keys.get(changed.key) !== changed) continue;
      if (from === "start" && changed.value === null) continue;
      if (changes.length === atMost || size >= SLICE_SIZE)
        return { from, revision: last, more: true, changes };
      last = changed.revision;
      const change = `${changed.key.slice(0, -1)},${changed.value ?? "null"}]`;
      size += change.length;
      changes.push(change);
    }
    return { from, revision: this.#revision, more: false, changes };
  }

  #set(key: string, value: string | null): void {
    this.#revision += 1;
    const changed = { key, revision: this.#revision, value };
    this.#keys.set(key, changed);
    this.#order.push(changed);
    if (this.#order.length > 2 * this.#keys.size + ORDER_SLACK) {
      this.#order = this.#order.filter((one) => this.#keys.get(one.key) === one);
    }
    this.#tell();
  }

  /** Where in the order those begin that a reader of that revision has not read. */
  #firstAfter(revision: number): number {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#order[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #forgetOldest(): void {
    const [oldest] = this.#gone;
    if (oldest === undefined) return;
    this.#forgotten = this.#keys.get(oldest)?.revision ?? this.#forgotten;
    this.#gone.delete(oldest);
    this.#keys.delete(oldest);
  }
}
