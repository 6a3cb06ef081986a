import { setTimeout as delay } from "node:timers/promises";

const LOOK_EVERY_MS = 100;
/** As systemd's RestartSec does by default. */
const START_AGAIN_AFTER_MS = 100;

/** A program that can be started again where it was. */
export interface Startable {
  start(): void;
  kill(): Promise<void>;
  /** Whether it was started and is no longer there. */
  readonly hasEnded: boolean;
}

/** A program under a service manager: whenever it has ended, however that was, it is started again. */
export class KeptProgram {
  readonly name: string;
  readonly #program: Startable;
  #startAfterMs = 0;
  #endedByItself = 0;
  #killed: "no" | "yes" = "no";
  #state: "kept" | "let go" = "kept";
  readonly #keeping: Promise<void>;

  /** Of one that has been started. */
  constructor(name: string, program: Startable) {
    this.name = name;
    this.#program = program;
    this.#keeping = this.#keep();
  }

  /** How often it ended without having been killed. */
  get endedByItself(): number {
    return this.#endedByItself;
  }

  /** SIGKILL; it is started again after `awayMs`. No effect on one that is away already. */
  async kill(awayMs: number): Promise<void> {
    if (this.#program.hasEnded) return;
    this.#killed = "yes";
    this.#startAfterMs = awayMs;
    await this.#program.kill();
  }

  /** From now on nobody starts it again. */
  async letGo(): Promise<void> {
    this.#state = "let go";
    await this.#keeping;
  }

  async #keep(): Promise<void> {
    while (this.#state === "kept") {
      await delay(LOOK_EVERY_MS);
      if (!this.#program.hasEnded || this.#state !== "kept") continue;
      if (this.#killed === "no") this.#endedByItself += 1;
      await delay(this.#killed === "yes" ? this.#startAfterMs : START_AGAIN_AFTER_MS);
      this.#killed = "no";
      if (this.#state === "kept") this.#program.start();
    }
  }
}
