import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { invalidArgument } from "../../proto/error.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import { deadlineExceeded, withDeadline } from "./deadline.ts";
import { unixMicros } from "./realtime-clock.ts";
import type { LabPeer } from "./topology.ts";
import type { TrackedProcess } from "./tracked-process.ts";

export interface ProbeOptions {
  readonly peer: LabPeer;
  /** The guest's address. */
  readonly target: string;
  /** 1 to 50; a guest under TCG answers 200 probes a second from each of two peers without effort. */
  readonly intervalMs?: number;
  /** The guest's MAC as a permanent neighbour entry, so that ARP does not blur results; without it, ARP is used. */
  readonly targetMac?: MacAddress;
}

/** One echo request and what became of it. */
export interface Probe {
  readonly seq: number;
  readonly sentAtUnixUs: number;
  /** Undefined: no reply so far. A late reply is a reply. */
  readonly repliedAtUnixUs: number | undefined;
}

export interface ProbeReport {
  readonly peer: string;
  readonly sent: number;
  readonly lost: number;
  /** The longest time without any reply inside the window, its edges included. */
  readonly longestGapMs: number;
  readonly probes: readonly Probe[];
}

/** How long after a window a reply to one of its probes may still come. */
const LATE_REPLY_MS = 300;
const PROGRAM = join(import.meta.dirname, "probe-program.js");

/** A peer that asks the guest for an answer every few milliseconds until it is closed. */
export class Prober {
  readonly peer: string;
  readonly #process: TrackedProcess;
  readonly #sent: number[] = [];
  readonly #replied: (number | undefined)[] = [];
  readonly #flushes = new Map<string, () => void>();
  readonly #waiters = new Set<() => void>();
  #nextToken = 1;

  private constructor(peer: string, process: TrackedProcess) {
    this.peer = peer;
    this.#process = process;
    process.onLine((line) => this.#onLine(line));
  }

  /** Starts probing from the peer's namespace and returns once the first request is known to have left. */
  static async start(options: ProbeOptions): Promise<Prober> {
    const intervalMs = options.intervalMs ?? 5;
    if (!(intervalMs >= 1 && intervalMs <= 50)) {
      throw invalidArgument("intervalMs", `Probes are sent every 1 to 50 ms, not ${intervalMs}.`);
    }
    const { namespace, link, name } = options.peer;
    if (options.targetMac !== undefined) {
      await namespace.ip([
        `neighbour replace ${options.target} lladdr ${options.targetMac} dev ${link} nud permanent`,
      ]);
    }
    const args = [PROGRAM, options.target, String(Math.round(intervalMs * 1000))];
    const prober = new Prober(name, namespace.spawn(process.execPath, args, { scheduling: "realtime" }));
    try {
      await prober.#flush();
    } catch (cause) {
      await prober.#process.kill();
      throw cause;
    }
    return prober;
  }

  /** Resolves with the first probe sent after `afterUnixUs` that was answered: the guest can be reached. */
  waitForReply(afterUnixUs: number, timeoutMs: number): Promise<Probe> {
    return new Promise((resolve, reject) => {
      const check = () => {
        for (let seq = this.#sent.length - 1; seq >= 0; seq--) {
          const probe = this.#probe(seq);
          if (probe.sentAtUnixUs <= afterUnixUs) return;
          if (probe.repliedAtUnixUs === undefined) continue;
          clearTimeout(timer);
          this.#waiters.delete(check);
          return resolve(probe);
        }
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(check);
        reject(deadlineExceeded(`A reply to ${this.peer}`, timeoutMs));
      }, timeoutMs);
      this.#waiters.add(check);
      check();
    });
  }

  /** What became of the probes sent in the window; waits until replies to its last ones had 300 ms to come. */
  async report(fromUnixUs: number, toUnixUs: number): Promise<ProbeReport> {
    const waitMs = (toUnixUs - unixMicros()) / 1000 + LATE_REPLY_MS;
    if (waitMs > 0) await delay(waitMs);
    await this.#flush();
    const probes = this.#sent
      .map((_, seq) => this.#probe(seq))
      .filter(({ sentAtUnixUs }) => sentAtUnixUs >= fromUnixUs && sentAtUnixUs <= toUnixUs);
    return summarizeProbes(this.peer, probes, fromUnixUs, toUnixUs);
  }

  /** Ends the prober; what it sent until then can still be read from earlier reports. Idempotent. */
  async close(): Promise<void> {
    await this.#process.kill();
  }

  #probe(seq: number): Probe {
    return { seq, sentAtUnixUs: this.#sent[seq] ?? 0, repliedAtUnixUs: this.#replied[seq] };
  }

  #flush(): Promise<void> {
    const token = String(this.#nextToken++);
    const flushed = new Promise<void>((resolve) => this.#flushes.set(token, resolve));
    this.#process.stdin.write(`${token}\n`);
    const ended = this.#process.exited.then(({ stderr }) => {
      throw new Error(`The prober of ${this.peer} has ended: ${stderr}`);
    });
    return withDeadline(Promise.race([flushed, ended]), 5000, `An answer of the prober of ${this.peer}`);
  }

  #onLine(line: string): void {
    const [kind, number = "", at] = line.split(" ");
    if (kind === "f") {
      this.#flushes.get(number)?.();
      this.#flushes.delete(number);
    }
    if (kind === "s") this.#sent[Number(number)] = Number(at);
    if (kind === "r") {
      this.#replied[Number(number)] ??= Number(at);
      for (const check of this.#waiters) check();
    }
  }
}

/** Lets every peer probe while `run` runs, and ends the probers with it: an idle guest's peers would cost CPU time. */
export async function withProbers<Result>(
  peers: readonly LabPeer[],
  options: Omit<ProbeOptions, "peer">,
  run: (probers: readonly Prober[]) => Promise<Result>,
): Promise<Result> {
  const probers = await Promise.all(peers.map((peer) => Prober.start({ ...options, peer })));
  try {
    return await run(probers);
  } finally {
    await Promise.all(probers.map((prober) => prober.close()));
  }
}

/** Counts the probes of a window; pure, so that records of a finished run can be cut into other windows. */
export function summarizeProbes(
  peer: string,
  probes: readonly Probe[],
  fromUnixUs: number,
  toUnixUs: number,
): ProbeReport {
  const replies = probes
    .flatMap(({ repliedAtUnixUs }) => (repliedAtUnixUs === undefined ? [] : [repliedAtUnixUs]))
    .sort((a, b) => a - b);
  let longestGapUs = 0;
  let previous = fromUnixUs;
  for (const at of [...replies, Math.max(toUnixUs, replies.at(-1) ?? 0)]) {
    longestGapUs = Math.max(longestGapUs, at - previous);
    previous = at;
  }
  return {
    peer,
    sent: probes.length,
    lost: probes.length - replies.length,
    longestGapMs: longestGapUs / 1000,
    probes,
  };
}
