/** A test that another kernel than this machine's may be asked, by name. */
export interface Fact {
  readonly name: string;
  /** Throws where it does not hold. */
  readonly holds: () => void | Promise<void>;
}

/** What became of a fact where it was asked: one line of JSON. */
export interface FactReport {
  readonly name: string;
  /** Null where it holds. */
  readonly failure: string | null;
}
