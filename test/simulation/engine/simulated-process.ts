import { EPOCH_UNIX_US, type Timeline } from "./timeline.ts";

/** Thrown into code whose process was killed while it ran; nothing that it does afterwards has any effect. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/**
 * A process of the simulated world: runs, is stopped (SIGSTOP) for a while, or is dead. What is sent to a stopped one
 * waits and is taken in order once it runs again; what is sent to a dead one is gone.
 */
export class SimulatedProcess {
  readonly name: string;
  readonly #timeline: Timeline;
  /** How often it was stopped. */
  stops = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #onDeath: (() => void)[] = [];
  #state: "running" | "stopped" | "dead" = "running";
  #runsSinceUs: number;

  constructor(name: string, timeline: Timeline) {
    this.name = name;
    this.#timeline = timeline;
    this.#runsSinceUs = timeline.nowUs;
  }

  get state(): "running" | "stopped" | "dead" {
    return this.#state;
  }

  /** Since when it runs without a break. */
  get runsSinceUs(): number {
    return this.#runsSinceUs;
  }

  /** This process's clock. */
  unixUs(): number {
    return EPOCH_UNIX_US + this.#timeline.nowUs;
  }

  /** A timer of this process's own. */
  after(delayMs: number, fire: () => void): () => void {
    if (this.#state === "dead") return () => {};
    return this.#timeline.after(delayMs * 1_000, () => this.run(fire));
  }

  /** Has the process do something now, or as soon as it runs; never once it is dead. */
  run(work: () => void): void {
    if (this.#state === "running" && this.#waiting.length === 0) this.#do(work);
    else if (this.#state !== "dead") this.#waiting.push(work);
  }

  stop(): void {
    if (this.#state !== "running") return;
    this.#state = "stopped";
    this.stops += 1;
  }

  goOn(): void {
    if (this.#state !== "stopped") return;
    this.#state = "running";
    this.#runsSinceUs = this.#timeline.nowUs;
    this.#takeNext();
  }

  kill(): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    this.#waiting.length = 0;
    for (const tell of this.#onDeath.splice(0)) tell();
  }

  /** Calls `tell` when the process dies. */
  onDeath(tell: () => void): void {
    if (this.#state === "dead") tell();
    else this.#onDeath.push(tell);
  }

  /** For work that ends with the process: throws once it is dead. */
  mustLive(): void {
    if (this.#state === "dead") throw new Killed(`${this.name} is dead.`);
  }

  #do(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      if (!(thrown instanceof Killed)) throw thrown;
    }
  }

  #takeNext(): void {
    if (this.#state !== "running" || this.#waiting.length === 0) return;
    this.#timeline.after(0, () => {
      if (this.#state !== "running") return;
      const work = this.#waiting.shift();
      if (work !== undefined) this.#do(work);
      this.#takeNext();
    });
  }
}
