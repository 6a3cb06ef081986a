/**
 * The lines of several programs that are told the same things: a line is told on once all have said it, with the earliest
 * of their time stamps. Lines that all say in one order are told in that order.
 *
 * A program says late what its CPU kept it from saying; as long as one of them could run, the stamp is right.
 */
export class UnanimousLines {
  readonly #programs: number;
  readonly #told: (line: string, atUnixUs: number) => void;
  /** What some have said and others not yet: each program's stamps of a line, oldest first. */
  readonly #waiting = new Map<string, number[][]>();

  constructor(programs: number, told: (line: string, atUnixUs: number) => void) {
    this.#programs = programs;
    this.#told = told;
  }

  hear(program: number, line: string, atUnixUs: number): void {
    const stamps = this.#waiting.get(line) ?? Array.from({ length: this.#programs }, (): number[] => []);
    this.#waiting.set(line, stamps);
    stamps[program]?.push(atUnixUs);
    if (stamps.some((said) => said.length === 0)) return;
    const atOnce = stamps.map((said) => said.shift() ?? atUnixUs);
    if (stamps.every((said) => said.length === 0)) this.#waiting.delete(line);
    this.#told(line, Math.min(...atOnce));
  }
}
