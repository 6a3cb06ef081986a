import { Drain } from "../../proto/gen/switchover/v1/drain.ts";
import { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { StartMigrationResponse } from "../../proto/gen/switchover/v1/migration_service.ts";
import { drainLines } from "./drain-lines.ts";
import { progressLine } from "./progress-line.ts";
import { renderTimeline } from "./timeline.ts";
import { validationText } from "./validation-text.ts";

/** Where text goes; process.stdout is one. */
export interface Screen {
  readonly isTTY?: boolean;
  /** Of a terminal. */
  readonly columns?: number;
  write(text: string): unknown;
}

const CLEAR_LINE = "\r\u001b[2K";
const CLEAR_SCREEN = "\u001b[H\u001b[2J";

/** Shows a migration's states as they come, on a terminal in one line that is overwritten. */
export class Display {
  readonly #screen: Screen;
  readonly #form: "text" | "json";
  #shown = "";
  #drainShown: ReadonlySet<string> = new Set();

  constructor(screen: Screen, form: "text" | "json") {
    this.#screen = screen;
    this.#form = form;
  }

  /** One state on the way. */
  progress(migration: Migration): void {
    if (this.#form === "json") {
      this.#json(migration);
      return;
    }
    const line = progressLine(migration);
    if (line === this.#shown) return;
    this.#shown = line;
    this.#screen.write(this.#screen.isTTY === true ? `${CLEAR_LINE}${this.#cut(line)}` : `${line}\n`);
  }

  /** The last state, with its timeline. */
  end(migration: Migration): void {
    if (this.#form === "json") {
      this.#json(migration);
      return;
    }
    if (this.#screen.isTTY === true && this.#shown !== "") this.#screen.write(CLEAR_LINE);
    this.#screen.write(`${renderTimeline(migration)}\n`);
  }

  /** What a check of a request came to. */
  validation(answer: StartMigrationResponse): void {
    this.#screen.write(
      this.#form === "json"
        ? `${JSON.stringify(StartMigrationResponse.toJSON(answer))}\n`
        : `${validationText(answer)}\n`,
    );
  }

  /** A drain on its way: its sum, and each guest that has changed. */
  drain(drain: Drain): void {
    if (this.#form === "json") {
      this.#screen.write(`${JSON.stringify(Drain.toJSON(drain))}\n`);
      return;
    }
    for (const line of drainLines(drain)) {
      if (!this.#drainShown.has(line)) this.#screen.write(`${line}\n`);
    }
    this.#drainShown = new Set(drainLines(drain));
  }

  /** A sentence beside the states; for people only. */
  note(sentence: string): void {
    if (this.#form === "json") return;
    this.leaveLine();
    this.#screen.write(`${sentence}\n`);
  }

  /** Many things of one kind: a line of JSON each, or all in the text. */
  rows(objects: readonly unknown[], text: () => string): void {
    if (this.#form === "json")
      for (const object of objects) this.#screen.write(`${JSON.stringify(object)}\n`);
    else this.#screen.write(`${text()}\n`);
  }

  /** A text in place of the one before; where no terminal is, below it; for people only. */
  screen(text: string): void {
    if (this.#form === "json") return;
    const lines = text.split("\n").map((line) => this.#cut(line));
    this.#screen.write(this.#screen.isTTY === true ? `${CLEAR_SCREEN}${lines.join("\n")}\n` : `${text}\n\n`);
  }

  /** Lets the line that is overwritten stand, so that what comes next is below it, whoever writes it. */
  leaveLine(): void {
    if (this.#form === "json" || this.#screen.isTTY !== true || this.#shown === "") return;
    this.#screen.write("\n");
    this.#shown = "";
  }

  /** A line that a terminal wraps could not be overwritten. */
  #cut(line: string): string {
    return line.slice(0, this.#screen.columns ?? line.length);
  }

  #json(migration: Migration): void {
    this.#screen.write(`${JSON.stringify(Migration.toJSON(migration))}\n`);
  }
}
