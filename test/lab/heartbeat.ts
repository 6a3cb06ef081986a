import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { deadlineExceeded } from "./deadline.ts";
import { unixMicros } from "./realtime-clock.ts";

/** One line of the guest's serial port. The sequence goes on across migrations: it lives in guest memory. */
export interface Heartbeat {
  readonly seq: number;
  /** The host that the guest saw under itself. */
  readonly host: string;
  /** When the line arrived here. */
  readonly atUnixUs: number;
}

const LINE = /^hb (\d+) host=(\S+)/;
/** At 70 ms a beat, the last ten minutes. */
const KEPT = 8192;

/** Follows one QEMU's serial port and tells a guest that lives from one that died in migration. */
export class HeartbeatFollower {
  readonly #socket: Socket;
  readonly #beats: Heartbeat[] = [];
  readonly #waiters = new Set<() => void>();

  constructor(serialSocketPath: string) {
    this.#socket = connect(serialSocketPath);
    // The port closes with its QEMU; whoever waits for a beat then meets the deadline.
    this.#socket.on("error", () => {});
    createInterface({ input: this.#socket })
      .on("line", (line) => this.#onLine(line))
      .on("error", () => {});
  }

  last(): Heartbeat | undefined {
    return this.#beats.at(-1);
  }

  all(): readonly Heartbeat[] {
    return this.#beats;
  }

  /** Resolves with the first beat numbered above `seq`; throws DEADLINE_EXCEEDED: the guest does not run here. */
  waitForBeatAfter(seq: number, timeoutMs: number): Promise<Heartbeat> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const beat = this.#beats.find((candidate) => candidate.seq > seq);
        if (beat === undefined) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve(beat);
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(check);
        reject(deadlineExceeded(`A heartbeat after ${seq}`, timeoutMs));
      }, timeoutMs);
      this.#waiters.add(check);
      check();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onLine(line: string): void {
    const match = LINE.exec(line);
    if (match?.[1] === undefined || match[2] === undefined) return;
    this.#beats.push({ seq: Number(match[1]), host: match[2], atUnixUs: unixMicros() });
    if (this.#beats.length > KEPT) this.#beats.splice(0, this.#beats.length - KEPT);
    for (const check of this.#waiters) check();
  }
}
