import type { Changes, GuestEntry, HostEntry, MigrationRow, Notice } from "./wire.ts";

/** All that the page knows, each by its key. */
interface Known {
  readonly migrations: Map<string, MigrationRow>;
  readonly hosts: Map<string, HostEntry>;
  readonly guests: Map<string, GuestEntry>;
  readonly notices: Map<string, Notice>;
}

const nothing = (): Known => ({
  migrations: new Map(),
  hosts: new Map(),
  guests: new Map(),
  notices: new Map(),
});

/**
 * What the stream of changes has brought. Where it begins anew, the former state stands until the new one is whole, so
 * that nothing flickers; a stream that breaks in between goes on with the part that has come.
 */
export class PageModel {
  #known = nothing();
  /** What comes of a stream that begins anew. */
  #coming: Known | undefined;
  /** Sorted; undefined where it is to be made of all. */
  #rows: MigrationRow[] | undefined;
  #isWhole = false;

  /** Whether all that the observer has was heard at least once. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  get hosts(): ReadonlyMap<string, HostEntry> {
    return this.#known.hosts;
  }

  get guests(): ReadonlyMap<string, GuestEntry> {
    return this.#known.guests;
  }

  get notices(): ReadonlyMap<string, Notice> {
    return this.#known.notices;
  }

  migration(id: string): MigrationRow | undefined {
    return this.#known.migrations.get(id);
  }

  /** All migrations, newest first. */
  get rows(): readonly MigrationRow[] {
    this.#rows ??= [...this.#known.migrations.values()].sort(newestFirst);
    return this.#rows;
  }

  hear({ changes, from, more }: Changes): void {
    if (from === "start") this.#coming = nothing();
    const known = this.#coming ?? this.#known;
    for (const change of changes) {
      const [kind, id] = change;
      if (kind === "m") {
        if (known === this.#known) this.#placeRow(known.migrations.get(id), change[2]);
        put(known.migrations, id, change[2]);
      }
      if (kind === "h") put(known.hosts, id, change[2]);
      else if (kind === "g") put(known.guests, id, change[2]);
      else if (kind === "n") put(known.notices, id, change[2]);
    }
    if (this.#coming !== undefined && !more) {
      this.#known = this.#coming;
      this.#coming = undefined;
      this.#isWhole = true;
      this.#rows = undefined;
    }
  }

  /** Changes the sorted rows by one: a change a frame of ten thousand rows is no reason to sort them all. */
  #placeRow(before: MigrationRow | undefined, now: MigrationRow | null): void {
    const rows = this.#rows;
    const row = now ?? before;
    if (rows === undefined || row === undefined) return;
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const there = rows[middle];
      if (there !== undefined && newestFirst(there, row) < 0) low = middle + 1;
      else high = middle;
    }
    rows.splice(low, before === undefined ? 0 : 1, ...(now === null ? [] : [now]));
  }
}

function put<T>(known: Map<string, T>, id: string, value: T | null): void {
  if (value === null) known.delete(id);
  else known.set(id, value);
}

function newestFirst(left: MigrationRow, right: MigrationRow): number {
  if (left.requestedAtMs !== right.requestedAtMs) return right.requestedAtMs - left.requestedAtMs;
  if (left.id === right.id) return 0;
  return left.id < right.id ? 1 : -1;
}
