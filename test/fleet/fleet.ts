import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { withDeadline } from "../lab/deadline.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";
import type { FleetAnswers, FleetLine, FleetQuestion, FleetReport } from "./fleet-message.ts";

const START_WITHIN_MS = 180_000;
const ANSWER_WITHIN_MS = 180_000;

export interface FleetOptions {
  readonly natsUrl: string;
  readonly hosts: number;
  /** Processes that the hosts are spread over; default: one a CPU. */
  readonly processes?: number;
  readonly port: number;
  readonly seed: number;
  /** How long a guest's memory is copied: each guest's own between these. */
  readonly copyMs: readonly [least: number, most: number];
  readonly pagesMs: number;
}

/** Thousands of pretended hosts with real agents, in a few processes. */
export class Fleet {
  readonly #members: readonly FleetProcess[];

  private constructor(members: readonly FleetProcess[]) {
    this.#members = members;
  }

  /** Resolves once all hosts listen. */
  static async start(options: FleetOptions): Promise<Fleet> {
    const { processes = availableParallelism() } = options;
    const members = Array.from({ length: processes }, (_, member) => {
      const hosts = Math.floor((options.hosts + member) / processes);
      return new FleetProcess(options, member, hosts);
    });
    const fleet = new Fleet(members);
    try {
      await Promise.all(members.map(({ ready }) => ready));
      return fleet;
    } catch (thrown) {
      await fleet.close();
      throw thrown;
    }
  }

  /** Boots the guests, spread evenly over the fleet. */
  async prepare(guestIds: readonly string[]): Promise<FleetAnswers["prepare"]> {
    const parts = this.#split(guestIds);
    const answers = await Promise.all(
      this.#members.map((member, index) => member.ask({ t: "prepare", guestIds: parts[index] ?? [] })),
    );
    return answers.flat();
  }

  async find(guestIds: readonly string[]): Promise<FleetAnswers["find"]> {
    const parts = this.#split(guestIds);
    const answers = await Promise.all(
      this.#members.map((member, index) => member.ask({ t: "find", guestIds: parts[index] ?? [] })),
    );
    return answers.flat();
  }

  async end(guestIds: readonly string[]): Promise<void> {
    const parts = this.#split(guestIds);
    await Promise.all(
      this.#members.map((member, index) => member.ask({ t: "end", guestIds: parts[index] ?? [] })),
    );
  }

  /** What was measured and found since the last time, by all processes together. */
  async report(): Promise<FleetReport> {
    const reports = await Promise.all(this.#members.map((member) => member.ask({ t: "report" })));
    return {
      phaseLagsMs: reports.flatMap(({ phaseLagsMs }) => phaseLagsMs),
      stepLagsMs: reports.flatMap(({ stepLagsMs }) => stepLagsMs),
      calls: summed(reports.map(({ calls }) => calls)),
      alarms: summed(reports.map(({ alarms }) => alarms)),
      violations: reports.flatMap(({ violations }) => violations),
      loopDelaysMs: reports.flatMap(({ loopDelaysMs }) => loopDelaysMs),
      cpuS: reports.reduce((sum, { cpuS }) => sum + cpuS, 0),
    };
  }

  /** How many events of the agents the feed is not known to hold. */
  async unsent(): Promise<number> {
    const counts = await Promise.all(this.#members.map((member) => member.ask({ t: "unsent" })));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.close()));
  }

  /** A guest's process is told by the number at the end of its id, wherever it is asked for. */
  #split(guestIds: readonly string[]): readonly string[][] {
    const parts: string[][] = this.#members.map(() => []);
    for (const guestId of guestIds) {
      const number = Number(/\d+$/.exec(guestId)?.[0] ?? 0);
      parts[number % parts.length]?.push(guestId);
    }
    return parts;
  }
}

class FleetProcess {
  readonly ready: Promise<void>;
  readonly #process: TrackedProcess;
  readonly #waiting = new Map<number, (line: FleetLine) => void>();
  #asked = 0;

  constructor(options: FleetOptions, member: number, hosts: number) {
    const { natsUrl, port, seed, pagesMs } = options;
    const [least, most] = options.copyMs;
    const times = { "copy-least-ms": least, "copy-most-ms": most, "pages-ms": pagesMs };
    const program = fileURLToPath(new URL("./main.js", import.meta.url));
    const flags = { "nats-url": natsUrl, member, hosts, port, seed, ...times };
    const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
    this.#process = TrackedProcess.start([], process.execPath, [program, ...args]);
    const isReady = new Promise<void>((resolve, reject) => {
      this.#process.onLine((text) => {
        const line = JSON.parse(text) as FleetLine;
        if (line.t === "ready") resolve();
        else this.#waiting.get(line.number)?.(line);
      });
      void this.#process.exited.then(({ stderr }) => {
        const sentence = `A process of the fleet ended: ${stderr}`;
        reject(new Error(sentence));
        for (const [number, settle] of this.#waiting) settle({ t: "failed", number, sentence });
      });
    });
    this.ready = withDeadline(isReady, START_WITHIN_MS, `The start of ${hosts} hosts`);
  }

  ask<T extends FleetQuestion["t"]>(question: Extract<FleetQuestion, { t: T }>): Promise<FleetAnswers[T]> {
    const number = this.#asked;
    this.#asked += 1;
    const answer = new Promise<FleetAnswers[T]>((resolve, reject) => {
      this.#waiting.set(number, (line) => {
        this.#waiting.delete(number);
        if (line.t === "answer") resolve(line.value as FleetAnswers[T]);
        else if (line.t === "failed") reject(new Error(line.sentence));
      });
    });
    this.#process.stdin.write(`${JSON.stringify(question)}\n`);
    return withDeadline(answer, ANSWER_WITHIN_MS, `The fleet's answer to ${question.t}`);
  }

  async close(): Promise<void> {
    await this.#process.kill();
  }
}

function summed(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const [name, count] of counts.flatMap((each) => Object.entries(each))) {
    sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}
