import { deadlineExceeded, withDeadline } from "../deadline.ts";
import type { LabHost } from "../topology.ts";
import type { TrackedProcess } from "../tracked-process.ts";

const BARRIER_TIMEOUT_MS = 30_000;
const MARK_RETRY_MS = 100;
const TIMESTAMP = /^Timestamp: (.+ \d{4}) (\d+) usec$/;

let monitors = 0;

export interface MonitoredObject {
  readonly program: "ip" | "bridge";
  /** What `<program> monitor` takes. */
  readonly object: "fdb" | "link" | "route";
  /** Further options of the program. */
  readonly options?: readonly string[];
  /** The change of one object that no other monitor makes, and its undoing, as lines of `<program> -batch`. */
  readonly marksOf: (number: number) => readonly [string, string];
  /** Whether a line tells of that undoing. */
  readonly isMark: (line: string, number: number) => boolean;
}

/** `ip monitor` or `bridge monitor` on one host, with the kernel's order, its time stamps, and a way to know that all was told. */
export class KernelMonitor {
  readonly #host: LabHost;
  readonly #object: MonitoredObject;
  /** Several monitors of one host must not undo each other's marks. */
  readonly #number: number;
  readonly #process: TrackedProcess;
  #marks = new Set<() => void>();
  #atUnixUs = 0;

  private constructor(
    host: LabHost,
    object: MonitoredObject,
    onLine: (line: string, atUnixUs: number) => void,
  ) {
    this.#host = host;
    this.#object = object;
    this.#number = ++monitors % 250;
    this.#process = host.namespace.spawn(
      object.program,
      [...(object.options ?? []), "-timestamp", "monitor", object.object],
      {
        scheduling: "realtime",
        env: { TZ: "UTC", LC_ALL: "C" },
      },
    );
    this.#process.onLine((line) => this.#onLine(line.trim(), onLine));
  }

  /** Starts watching. Returns once no later change can be missed. */
  static async start(
    host: LabHost,
    object: MonitoredObject,
    onLine: (line: string, atUnixUs: number) => void,
  ): Promise<KernelMonitor> {
    const monitor = new KernelMonitor(host, object, onLine);
    try {
      await monitor.settle();
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return monitor;
  }

  /** Resolves when every change made before the call was told. */
  async settle(): Promise<void> {
    const { name, namespace } = this.#host;
    const { marksOf, object, program } = this.#object;
    const startedMs = performance.now();
    const seen = new Promise<void>((resolve) => this.#marks.add(resolve));
    // The monitor subscribes some time after its start and says nothing then: ask until it answers.
    for (;;) {
      await namespace[program](marksOf(this.#number));
      const answered = await withDeadline(seen, MARK_RETRY_MS, "The mark").then(
        () => true,
        () => false,
      );
      if (answered) return;
      if (performance.now() - startedMs > BARRIER_TIMEOUT_MS || this.#process.exit() !== undefined) {
        throw deadlineExceeded(`An answer of ${program} monitor ${object} on ${name}`, BARRIER_TIMEOUT_MS);
      }
    }
  }

  /** Ends the monitor after a last `settle`. */
  async close(): Promise<void> {
    try {
      await this.settle();
    } finally {
      await this.kill();
    }
  }

  async kill(): Promise<void> {
    await this.#process.kill();
  }

  #onLine(line: string, told: (line: string, atUnixUs: number) => void): void {
    const stamp = TIMESTAMP.exec(line);
    if (stamp?.[1] !== undefined) {
      this.#atUnixUs = Date.parse(`${stamp[1]} UTC`) * 1000 + Number(stamp[2]);
      return;
    }
    if (this.#object.isMark(line, this.#number)) {
      for (const resolve of this.#marks) resolve();
      this.#marks = new Set();
    }
    told(line, this.#atUnixUs);
  }
}
