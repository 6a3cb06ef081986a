import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { encodeBatch, type RouteBatch } from "../../../agent/netlink/route-batch.ts";
import type { RouteSocket } from "../../../agent/netlink/route-socket.ts";
import { parseMacAddress } from "../../../proto/mac-address.ts";
import { withDeadline } from "../../lab/deadline.ts";
import { TrackedProcess } from "../../lab/tracked-process.ts";

/** One that adds forwarding entries; a call moves all of them to the other of two ports, so that each is a change. */
export interface FdbRival {
  readonly entries: number;
  /** Returns how long one entry took, in microseconds. */
  move(): number | Promise<number>;
}

const BATCH_WITHIN_MS = 10_000;
export const PORTS = ["tap0", "tap1"] as const;

/** The agent's own way: messages encoded ahead, all of them in one send, acknowledged. Throws where the kernel refuses one. */
export function nodeRival(route: RouteSocket, ifindexes: readonly number[], entries: number): FdbRival {
  const batches = ifindexes.map(
    (ifindex): RouteBatch =>
      encodeBatch(
        Array.from({ length: entries }, (_, index) => ({
          op: "replaceFdbEntry" as const,
          ifindex,
          macAddress: parseMacAddress(macOf(index), "mac"),
          sticky: "sticky" as const,
        })),
      ),
  );
  for (const batch of batches) route.ready(batch);
  let turn = 0;
  return {
    entries,
    move: () => {
      const batch = batches[turn++ % batches.length] as RouteBatch;
      const fromMs = performance.now();
      const results = route.execute(batch);
      const tookUs = (performance.now() - fromMs) * 1000;
      const refused = results.find(({ ok }) => !ok);
      if (refused !== undefined) throw new Error(`The kernel refused an entry: ${JSON.stringify(refused)}`);
      return tookUs / entries;
    },
  };
}

/** One `bridge -batch -` that lives on; a question at the end of each batch, which it answers, shows that it is done. */
export class BatchRival implements FdbRival {
  readonly entries: number;
  readonly #process = TrackedProcess.start([], "bridge", ["-batch", "-"]);
  readonly #texts: readonly string[];
  #turn = 0;
  #answered: () => void = () => {};

  constructor(entries: number) {
    this.entries = entries;
    this.#texts = PORTS.map((port) =>
      [
        ...Array.from(
          { length: entries },
          (_, index) => `fdb replace ${macOf(index)} dev ${port} master static sticky`,
        ),
        `link show dev ${port}\n`,
      ].join("\n"),
    );
    this.#process.onLine(() => this.#answered());
  }

  async move(): Promise<number> {
    const text = this.#texts[this.#turn++ % PORTS.length] ?? "";
    const answered = new Promise<void>((resolve) => {
      this.#answered = resolve;
    });
    const fromMs = performance.now();
    this.#process.stdin.write(text);
    await withDeadline(answered, BATCH_WITHIN_MS, "An answer of bridge -batch");
    return ((performance.now() - fromMs) * 1000) / this.entries;
  }

  async close(): Promise<void> {
    await this.#process.kill();
  }
}

/** One process an entry. */
export function forkRival(): FdbRival {
  let turn = 0;
  return {
    entries: 1,
    move: () => {
      const port = PORTS[turn++ % PORTS.length] ?? "";
      const fromMs = performance.now();
      execFileSync("bridge", ["fdb", "replace", macOf(0), "dev", port, "master", "static", "sticky"]);
      return (performance.now() - fromMs) * 1000;
    },
  };
}

const STORM_LINES = 400_000;

/** Another process that makes and removes links until it is killed, so that the kernel's rtnl lock is always wanted. */
export function startStorm(path: string): TrackedProcess {
  writeFileSync(path, "link add storm type bridge\nlink delete storm\n".repeat(STORM_LINES / 2));
  const storm = TrackedProcess.start([], "ip", ["-batch", path]);
  storm.ignoreOutput();
  return storm;
}

function macOf(index: number): string {
  return `52:54:00:fd:b0:${index.toString(16).padStart(2, "0")}`;
}
