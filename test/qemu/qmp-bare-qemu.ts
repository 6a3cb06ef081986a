import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../agent/clock.ts";
import { openQemu, type Qemu } from "../../agent/vmm/qemu.ts";
import type { VmmEvent } from "../../agent/vmm/vmm.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { deadlineExceeded, pollUntil } from "../lab/deadline.ts";
import { unixMicros } from "../lab/realtime-clock.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";

export const labClock: Clock = {
  unixUs: unixMicros,
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

/** One line that crossed a QMP socket, as the transcripts keep it. */
export interface TranscriptEntry {
  /** When this side sent or received it. */
  readonly atUnixUs: number;
  readonly direction: "greeting" | "event" | "answer" | "command";
  readonly message: unknown;
}

export interface BareQemuOptions {
  readonly role: "source" | "destination";
  /** Whether QEMU's command line has `-S`. */
  readonly cpus: "held" | "free";
  /** More of its command line. */
  readonly devices?: readonly string[];
}

/**
 * A QEMU without disk, kernel or NIC: its firmware looks for something to boot and finds nothing, which is enough
 * of a guest to be stopped, resumed and migrated. Records every event and every line of its monitor.
 */
export class BareQemu {
  readonly events: VmmEvent[] = [];
  readonly transcript: TranscriptEntry[] = [];
  readonly qmpPath: string;
  readonly process: TrackedProcess;
  readonly #directory: string;
  readonly #wakers = new Set<() => void>();
  #vmm: Qemu | undefined;

  private constructor(directory: string, qmpPath: string, process: TrackedProcess) {
    this.#directory = directory;
    this.qmpPath = qmpPath;
    this.process = process;
  }

  /** Starts the process and connects to its monitor. */
  static async start({ role, cpus, devices = [] }: BareQemuOptions): Promise<BareQemu> {
    const directory = await mkdtemp(join(tmpdir(), "switchover-qmp-"));
    const qmpPath = join(directory, "qmp.sock");
    const qemu = TrackedProcess.start([], "qemu-system-x86_64", [
      ...["-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none"],
      ...["-qmp", `unix:${qmpPath},server=on,wait=off`],
      ...devices,
      ...(cpus === "held" ? ["-S"] : []),
      ...(role === "destination" ? ["-incoming", "defer"] : []),
    ]);
    qemu.ignoreOutput();
    const bare = new BareQemu(directory, qmpPath, qemu);
    try {
      bare.#vmm = await pollUntil(() => bare.#tryToOpen(), 10_000, "A connection to QEMU's monitor");
      return bare;
    } catch (cause) {
      await bare.end();
      throw cause;
    }
  }

  get vmm(): Qemu {
    if (this.#vmm === undefined) throw new Error("The monitor is not connected.");
    return this.#vmm;
  }

  /** The first event from index `from` on that `matches`, waiting for it where it has not come yet. */
  async eventAt(matches: (event: VmmEvent) => boolean, from = 0, timeoutMs = 10_000): Promise<VmmEvent> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const found = this.events.slice(from).find(matches);
      if (found !== undefined) return found;
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0)
        throw deadlineExceeded(`An event after ${this.eventNames().join(" ")}`, timeoutMs);
      await this.#nextEvent(remainingMs);
    }
  }

  /** Events in order, one word each: `stop`, `resume`, or the status of a migration. */
  eventNames(): string[] {
    return this.events.map((event) => {
      if (event.kind === "migrationStatusChanged") return event.statusText;
      return event.kind === "other" ? event.name : event.kind;
    });
  }

  /** Ends the process and removes its directory. Idempotent. */
  async end(): Promise<void> {
    this.#vmm?.close();
    await this.process.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #tryToOpen(): Promise<Qemu | undefined> {
    try {
      return await openQemu({
        path: this.qmpPath,
        connectTimeoutMs: 5_000,
        clock: labClock,
        onEvent: (event) => {
          this.events.push(event);
          for (const wake of this.#wakers) wake();
        },
        onLine: (direction, line, atUnixUs) => this.#record(direction, line, atUnixUs),
      });
    } catch (thrown) {
      const error = SwitchoverError.from(thrown);
      if (error.reason !== "QMP_UNREACHABLE" || this.process.exit() !== undefined) throw error;
      return undefined;
    }
  }

  #record(direction: "sent" | "received", line: string, atUnixUs: number): void {
    const message = JSON.parse(line);
    const kind = "QMP" in message ? "greeting" : "event" in message ? "event" : "answer";
    this.transcript.push({ atUnixUs, direction: direction === "sent" ? "command" : kind, message });
  }

  #nextEvent(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wakers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#wakers.add(done);
    });
  }
}

export function isStatus(...statuses: readonly string[]): (event: VmmEvent) => boolean {
  return (event) => event.kind === "migrationStatusChanged" && statuses.includes(event.statusText);
}

export function isKind(kind: VmmEvent["kind"]): (event: VmmEvent) => boolean {
  return (event) => event.kind === kind;
}
