/** One of the benchmarks of `npm run bench`. */
export interface BenchProgram {
  /** For the list of all of them. */
  readonly summary: string;
  readonly help: string;
  /** The exit code. Throws a USAGE fault for a wrong command line. */
  run(args: readonly string[]): Promise<number>;
}
