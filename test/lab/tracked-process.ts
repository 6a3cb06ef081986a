import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { deadlineExceeded, withDeadline } from "./deadline.ts";

/** Enough of a program's complaints to explain a failure. */
const STDERR_LIMIT = 64 * 1024;

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last 64 KiB that the program wrote to stderr. */
  readonly stderr: string;
}

export type Scheduling = "normal" | "realtime" | "idle";

const SCHEDULERS: Readonly<Record<Scheduling, readonly string[]>> = {
  normal: [],
  realtime: ["chrt", "--fifo", "10"],
  idle: ["chrt", "--idle", "0"],
};

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /**
   * `realtime` is SCHED_FIFO: for a witness, whose time stamps must not wait behind busy guests. `idle` is SCHED_IDLE: for
   * what would be on another machine, and here gets the time that nobody wants.
   */
  readonly scheduling?: Scheduling;
  /** The one CPU that it may run on; default any. */
  readonly cpu?: number;
}

/** A long-lived child that dies with this process (PR_SET_PDEATHSIG), even when this process is killed. */
export class TrackedProcess {
  readonly pid: number;
  readonly label: string;
  /** Resolves once, when the process is gone and its output is read. */
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcessWithoutNullStreams;
  #exit: ProcessExit | undefined;
  #stderr = "";

  private constructor(child: ChildProcessWithoutNullStreams, pid: number, label: string) {
    this.#child = child;
    this.pid = pid;
    this.label = label;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_LIMIT);
    });
    // A child that was killed between two writes answers them with EPIPE; its exit says all there is to say.
    child.stdin.on("error", () => {});
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#exit = { code, signal, stderr: this.#stderr };
        resolve(this.#exit);
      });
    });
  }

  /** Starts `file` after `prefix` (programs that exec their arguments, such as nsenter), same pid throughout. */
  static start(
    prefix: readonly string[],
    file: string,
    args: readonly string[],
    options: SpawnOptions = {},
  ): TrackedProcess {
    const scheduling = SCHEDULERS[options.scheduling ?? "normal"];
    const affinity = options.cpu === undefined ? [] : ["taskset", "--cpu-list", String(options.cpu)];
    const command = [...prefix, "setpriv", "--pdeathsig", "KILL", ...affinity, ...scheduling, file, ...args];
    const child = spawn(command[0] ?? file, command.slice(1), {
      stdio: "pipe",
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    if (child.pid === undefined) {
      child.on("error", () => {});
      throw new Error(`${command[0]} could not be started for ${file}.`);
    }
    return new TrackedProcess(child, child.pid, file);
  }

  get stdin(): NodeJS.WritableStream {
    return this.#child.stdin;
  }

  /** How the process ended, or undefined while it runs. */
  exit(): ProcessExit | undefined {
    return this.#exit;
  }

  /** What the process has written to stderr so far (its last 64 KiB). */
  stderrText(): string {
    return this.#stderr;
  }

  /** Calls `listener` for each line of stdout; call it once, right after the start. */
  onLine(listener: (line: string) => void): void {
    createInterface({ input: this.#child.stdout }).on("line", listener);
  }

  /** Calls `listener` for each line of stderr. */
  onErrorLine(listener: (line: string) => void): void {
    createInterface({ input: this.#child.stderr }).on("line", listener);
  }

  /** Discards stdout, so that a talkative program never blocks on a full pipe. */
  ignoreOutput(): void {
    this.#child.stdout.resume();
  }

  /** Sends `signal` without waiting; no effect on a process that ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#child.kill(signal);
  }

  /**
   * Ends the process and waits for its end: `signal` first, SIGKILL when that had no effect in 2 s. Idempotent.
   */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<ProcessExit> {
    this.signal(signal);
    if (signal !== "SIGKILL") {
      const escalation = setTimeout(() => this.signal("SIGKILL"), 2000);
      void this.exited.then(() => clearTimeout(escalation));
    }
    return withDeadline(this.exited, 5000, `The end of ${this.label} (pid ${this.pid})`);
  }

  /** Waits for the process to end by itself. Throws DEADLINE_EXCEEDED and leaves it running otherwise. */
  async waitForExit(timeoutMs: number): Promise<ProcessExit> {
    if (this.#exit !== undefined) return this.#exit;
    if (timeoutMs <= 0) throw deadlineExceeded(`The end of ${this.label}`, timeoutMs);
    return withDeadline(this.exited, timeoutMs, `The end of ${this.label} (pid ${this.pid})`);
  }
}
