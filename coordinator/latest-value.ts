/**
 * A buffer of one: a slow reader gets the newest value, and always the last. For one reader.
 */
export class LatestValue<T> implements AsyncIterable<T> {
  #value: { readonly of: T } | null = null;
  #end: { readonly error: unknown } | "ended" | null = null;
  #wake: () => void = () => undefined;

  /** Replaces what was not read yet. */
  offer(value: T): void {
    if (this.#end !== null) return;
    this.#value = { of: value };
    this.#wake();
  }

  /** Ends the reader's loop once it has read the last value. */
  end(): void {
    this.#end ??= "ended";
    this.#wake();
  }

  /** As `end`, but the reader's loop throws. */
  fail(error: unknown): void {
    this.#end ??= { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      if (this.#value !== null) {
        const { of } = this.#value;
        this.#value = null;
        yield of;
        continue;
      }
      if (this.#end === "ended") return;
      if (this.#end !== null) throw this.#end.error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
