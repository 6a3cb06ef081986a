import { deadlineExceeded, pollUntil, withDeadline } from "../deadline.ts";
import type { LabHost } from "../topology.ts";
import type { TrackedProcess } from "../tracked-process.ts";
import { type MonitorCommand, monitorCpus, startMonitorProgram } from "./monitor-program.ts";
import { UnanimousLines } from "./unanimous-lines.ts";

const BARRIER_TIMEOUT_MS = 30_000;
const MARK_RETRY_MS = 100;
const MARK_NUMBERS = 250;

let marks = 0;

export interface MonitoredObject extends MonitorCommand {
  /** The change of one object that no other monitor makes, and its undoing, as lines of `<program> -batch`. */
  readonly marksOf: (number: number) => readonly [string, string];
  /** Whether a line tells of that undoing. */
  readonly isMark: (line: string, number: number) => boolean;
}

/**
 * `ip monitor` or `bridge monitor` on one host, with the kernel's order, its time stamps, and a way to know that all was told.
 *
 * A monitor stamps a change when it runs, and SCHED_FIFO does not run on a CPU that the kernel or the hypervisor holds. With
 * 14 programs waiting for two CPUs, one monitor stamped 1 change in 1,000 more than 0.6 ms after its acknowledgement, at
 * worst 32 ms; of two, each held to a CPU of its own, the earlier was never behind it (11,934 changes). So there are two.
 */
export class KernelMonitor {
  readonly #host: LabHost;
  readonly #object: MonitoredObject;
  /** Several monitors of one host must not undo each other's marks. */
  readonly #mark = nextMark();
  readonly #beginning = nextMark();
  readonly #programs: readonly TrackedProcess[];
  /** Programs that have told the mark, and those that have told the beginning: only what follows it is told on. */
  readonly #subscribed = new Set<number>();
  readonly #begun = new Set<number>();
  #settled = new Set<() => void>();

  private constructor(
    host: LabHost,
    object: MonitoredObject,
    onLine: (line: string, atUnixUs: number) => void,
  ) {
    this.#host = host;
    this.#object = object;
    const cpus = monitorCpus();
    const lines = new UnanimousLines(cpus.length, (line, atUnixUs) => {
      if (object.isMark(line, this.#mark)) this.#settle();
      onLine(line, atUnixUs);
    });
    this.#programs = cpus.map((cpu, program) =>
      startMonitorProgram(host, object, cpu, (line, atUnixUs) => {
        if (this.#begun.has(program)) lines.hear(program, line, atUnixUs);
        else if (object.isMark(line, this.#mark)) this.#subscribed.add(program);
        else if (object.isMark(line, this.#beginning)) this.#begun.add(program);
      }),
    );
  }

  /** Starts watching. Returns once no later change can be missed. */
  static async start(
    host: LabHost,
    object: MonitoredObject,
    onLine: (line: string, atUnixUs: number) => void,
  ): Promise<KernelMonitor> {
    const monitor = new KernelMonitor(host, object, onLine);
    try {
      await monitor.#begin();
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return monitor;
  }

  /** Resolves when every change made before the call was told. */
  async settle(): Promise<void> {
    const settled = new Promise<void>((resolve) => this.#settled.add(resolve));
    await this.#make(this.#mark);
    await withDeadline(settled, BARRIER_TIMEOUT_MS, this.#answer());
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
    await Promise.all(this.#programs.map((program) => program.kill()));
  }

  /** A program subscribes some time after its start and says nothing then: ask until all answer, then begin in all at one change. */
  async #begin(): Promise<void> {
    const all = this.#programs.length;
    const subscribed = async () => {
      if (this.#programs.some((program) => program.exit() !== undefined)) {
        throw deadlineExceeded(this.#answer(), BARRIER_TIMEOUT_MS);
      }
      await this.#make(this.#mark);
      return this.#subscribed.size === all ? true : undefined;
    };
    await pollUntil(subscribed, BARRIER_TIMEOUT_MS, this.#answer(), MARK_RETRY_MS);
    await this.#make(this.#beginning);
    await pollUntil(() => (this.#begun.size === all ? true : undefined), BARRIER_TIMEOUT_MS, this.#answer());
  }

  async #make(mark: number): Promise<void> {
    const { marksOf, program } = this.#object;
    await this.#host.namespace[program](marksOf(mark));
  }

  #settle(): void {
    for (const resolve of this.#settled) resolve();
    this.#settled = new Set();
  }

  #answer(): string {
    const { object, program } = this.#object;
    return `An answer of ${program} monitor ${object} on ${this.#host.name}`;
  }
}

function nextMark(): number {
  marks = (marks + 1) % MARK_NUMBERS;
  return marks;
}
