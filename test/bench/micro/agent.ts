import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { openChangeSocket } from "../../../agent/netlink/change-socket.ts";
import type { FdbEntry } from "../../../agent/netlink/neighbour.ts";
import { encodeBatch } from "../../../agent/netlink/route-batch.ts";
import { type Bench, nic, prepare, withAgent } from "../../kernel/agent-bench.ts";
import { run } from "../../kernel/in-network-namespace.ts";
import { PretendedVmm } from "../../kernel/pretended-vmm.ts";
import { addBridge } from "../../kernel/tap-end.ts";
import { pollUntil } from "../../lab/deadline.ts";
import { type Figure, figureOf, type MicroPart } from "./figure.ts";

const NICS_PER_GUEST = 8;
/** A bridge takes some more than a thousand ports. */
const PORTS_PER_BRIDGE = 1_000;
/** The agent's audit of everything comes every 10 s: two of them at least. */
const WATCH_MS = 25_000;
const RESTARTS = 5;
const RECONCILED_WITHIN_MS = 60_000;
const MB = 1e6;

export const AGENT: MicroPart = {
  name: "agent",
  summary: "an agent with 10,000 NICs on a real kernel: event loop, restart, memory",
  measure: async ({ nics }) => {
    let figures: readonly Figure[] = [];
    const changes: { close: () => void }[] = [];
    await withAgent(
      async (bench) => {
        figures = await measureAgent(bench, nics);
      },
      () => {
        const kernelChanges = openChangeSocket();
        changes.push(kernelChanges);
        return { kernelChanges };
      },
    ).finally(() => {
      for (const socket of changes) socket.close();
    });
    return figures;
  },
};

async function measureAgent(bench: Bench, nics: number): Promise<readonly Figure[]> {
  const before = process.memoryUsage();
  await populate(bench, nics);
  globalThis.gc?.();
  const after = process.memoryUsage();
  const lag = monitorEventLoopDelay({ resolution: 1 });
  lag.enable();
  await delay(WATCH_MS);
  lag.disable();
  const [endsMs, beginningsMs, reconciledMs]: [number[], number[], number[]] = [[], [], []];
  for (let time = 0; time < RESTARTS; time += 1) {
    const fromMs = performance.now();
    bench.end();
    const endedMs = performance.now();
    await bench.begin();
    endsMs.push(endedMs - fromMs);
    beginningsMs.push(performance.now() - endedMs);
  }
  for (let time = 0; time < RESTARTS; time += 1) reconciledMs.push(await restartWithoutEntries(bench, nics));
  const of = `${nics.toLocaleString("en")} NICs`;
  return [
    {
      name: `event loop's turn late, ${of}, two audits`,
      unit: "ms",
      p50: round(lag.percentile(50) / 1e6),
      p99: round(lag.percentile(99) / 1e6),
      max: round(lag.max / 1e6),
      count: lag.count,
    },
    figureOf(`end of an agent, ${of}: journals closed`, "ms", endsMs),
    figureOf(`start of an agent, ${of}: every guest under its gate`, "ms", beginningsMs),
    figureOf(`start of an agent, ${of}, every entry lost: all of them back`, "ms", reconciledMs),
    figureOf(`memory for ${of}, resident`, "MB", [(after.rss - before.rss) / MB]),
    figureOf(`memory for ${of}, heap`, "MB", [(after.heapUsed - before.heapUsed) / MB]),
  ];
}

/** Guests of eight NICs each, running. */
async function populate(bench: Bench, nics: number): Promise<void> {
  for (let bridge = 1; bridge * PORTS_PER_BRIDGE < nics; bridge += 1) addBridge(`br${bridge}`);
  for (let first = 0; first < nics; first += NICS_PER_GUEST) {
    const guestId = `guest-${first}`;
    const definitions = Array.from({ length: Math.min(NICS_PER_GUEST, nics - first) }, (_, index) => {
      const number = first + index;
      const bridge = `br${Math.floor(number / PORTS_PER_BRIDGE)}`;
      return {
        ...nic({ macAddress: macOf(number), deviceName: `t${number}`, bridge }),
        nicId: `net${index}`,
      };
    });
    await bench.agent.prepareNics(prepare("a1", definitions, guestId));
    const qmpPath = `/run/${guestId}`;
    bench.vmms.set(qmpPath, new PretendedVmm("running"));
    await bench.agent.adoptGuest({ guestId, instanceId: "a1", qmpPath, externalCpuSource: undefined });
  }
  await pollUntil(
    () => registered(bench).length === nics || undefined,
    RECONCILED_WITHIN_MS,
    "All entries",
    50,
  );
}

/** Time from a start without any entry until all are in the kernel, which is asked every few milliseconds. */
async function restartWithoutEntries(bench: Bench, nics: number): Promise<number> {
  const { route } = bench.devices;
  const entries = registered(bench);
  const requests = entries.map(({ ifindex, macAddress }) => ({
    op: "deleteFdbEntry" as const,
    ifindex,
    macAddress,
  }));
  bench.end();
  for (const { ok } of route.execute(encodeBatch(requests))) if (!ok) throw new Error("An entry stayed.");
  const fromMs = performance.now();
  await bench.begin();
  await pollUntil(() => registered(bench).length === nics || undefined, RECONCILED_WITHIN_MS, "All entries");
  return performance.now() - fromMs;
}

function registered({ devices }: Bench): readonly FdbEntry[] {
  const bridges = JSON.parse(run("ip", "-j", "link", "show", "type", "bridge")) as { ifindex: number }[];
  return bridges.flatMap(({ ifindex: bridgeIfindex }) =>
    devices.route
      .dump({ op: "dumpFdb", bridgeIfindex })
      .flatMap((message) =>
        message.type === "fdbEntry" && message.entry.state === "static" ? [message.entry] : [],
      ),
  );
}

function macOf(number: number): string {
  const [high, low] = [number >> 8, number & 0xff].map((byte) => byte.toString(16).padStart(2, "0"));
  return `52:54:00:01:${high}:${low}`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
