import { createWriteStream, type WriteStream } from "node:fs";
import { SwitchoverError } from "../../../proto/error.ts";
import { withDeadline } from "../deadline.ts";
import type { NetworkNamespace } from "../network-namespace.ts";
import type { ProcessExit, Scheduling, TrackedProcess } from "../tracked-process.ts";

export interface LabProgramOptions {
  readonly namespace: NetworkNamespace;
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Default `normal`. */
  readonly scheduling?: Scheduling;
  /** All that it says on stderr, over all of its starts. */
  readonly logPath: string;
  /** Hears each line of stdout; default: stdout is discarded. */
  readonly onLine?: (line: string) => void;
}

/** A program of the lab that can be killed and started again, as a service manager does. Running once it is made. */
export class LabProgram {
  readonly #options: LabProgramOptions;
  readonly #log: WriteStream;
  readonly #waiting = new Set<{ readonly text: string; readonly heard: () => void }>();
  #process: TrackedProcess;

  constructor(options: LabProgramOptions) {
    this.#options = options;
    this.#log = createWriteStream(options.logPath);
    this.#process = this.#launch();
  }

  /** The process of the last start. */
  get process(): TrackedProcess {
    return this.#process;
  }

  /** Starts the program again. Only for one that has ended. */
  restart(): void {
    this.#process = this.#launch();
  }

  /** Resolves with the next line of its log that contains the text; throws UNAVAILABLE / PROGRAM_ENDED, DEADLINE_EXCEEDED. */
  async saying(text: string, timeoutMs: number): Promise<void> {
    let waiter = { text, heard: () => {} };
    const heard = new Promise<void>((resolve) => {
      waiter = { text, heard: resolve };
      this.#waiting.add(waiter);
    });
    const ended = this.#process.exited.then(({ stderr }) => {
      const sentence = `A program of Switchover ended at its start: ${stderr.slice(-2000)}`;
      throw new SwitchoverError("UNAVAILABLE", sentence, { reason: "PROGRAM_ENDED" });
    });
    try {
      await withDeadline(Promise.race([heard, ended]), timeoutMs, `"${text}" in a program's log`);
    } finally {
      this.#waiting.delete(waiter);
    }
  }

  /** Ends it for good, and its log; see TrackedProcess for the signal. Idempotent. */
  async close(signal: NodeJS.Signals = "SIGTERM"): Promise<ProcessExit> {
    const exit = await this.#process.kill(signal);
    this.#log.end();
    return exit;
  }

  #launch(): TrackedProcess {
    const { namespace, file, args, env, onLine, scheduling = "normal" } = this.#options;
    const process = namespace.spawn(file, args, env === undefined ? { scheduling } : { env, scheduling });
    if (onLine === undefined) process.ignoreOutput();
    else process.onLine(onLine);
    process.onErrorLine((line) => {
      if (!this.#log.writableEnded) this.#log.write(`${line}\n`);
      for (const { text, heard } of this.#waiting) if (line.includes(text)) heard();
    });
    return process;
  }
}
