import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openRouteSocket } from "../../../agent/netlink/route-socket.ts";
import { inNetworkNamespace, run } from "../../kernel/in-network-namespace.ts";
import { addBridge, TapEnd } from "../../kernel/tap-end.ts";
import { seededRandom, shuffled } from "../random.ts";
import { BatchRival, type FdbRival, forkRival, nodeRival, PORTS, startStorm } from "./fdb-rivals.ts";
import { type Figure, figureOf, type MicroPart, type MicroScale } from "./figure.ts";

/** So many rounds for one of the slowest; the quick ones have this many times as many of each round. */
const QUICK_TIMES = 20;
const SEED = 1;

export const FDB: MicroPart = {
  name: "fdb",
  summary:
    "forwarding entries: the agent's batches, bridge -batch -, a forked bridge; and under a storm of links",
  measure: ({ repeats }: MicroScale) => withFdbRivals((rivals, storm) => measureFdb(rivals, storm, repeats)),
};

export interface FdbRivals {
  readonly one: FdbRival;
  readonly eight: FdbRival;
  readonly batch: FdbRival;
  readonly bridgeBatch: FdbRival;
  readonly fork: FdbRival;
}

/** A bridge with two ports in a namespace of its own, and those that add entries there; `storm` runs a body in one. */
export async function withFdbRivals<T>(
  body: (rivals: FdbRivals, storm: (within: () => Promise<void>) => Promise<void>) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "switchover-fdb-"));
  let result: T | undefined;
  try {
    await inNetworkNamespace(async () => {
      addBridge("br0");
      const ends = PORTS.map((port) => new TapEnd(port));
      for (const port of PORTS) run("ip", "link", "set", port, "master", "br0", "up");
      const route = openRouteSocket();
      const bridgeBatch = new BatchRival(64);
      try {
        const links = JSON.parse(run("ip", "-j", "link", "show", "master", "br0"));
        const ifindexes = links.map(({ ifindex }: { ifindex: number }) => ifindex);
        const [one, eight, batch] = [1, 8, 64].map((count) => nodeRival(route, ifindexes, count)) as [
          FdbRival,
          FdbRival,
          FdbRival,
        ];
        const storm = async (within: () => Promise<void>): Promise<void> => {
          const raging = startStorm(join(folder, "storm"));
          try {
            await within();
          } finally {
            await raging.kill();
          }
        };
        result = await body({ one, eight, batch, bridgeBatch, fork: forkRival() }, storm);
      } finally {
        await bridgeBatch.close();
        route.close();
        for (const end of ends) end.close();
      }
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
  return result as T;
}

async function measureFdb(
  rivals: FdbRivals,
  storm: (within: () => Promise<void>) => Promise<void>,
  repeats: number,
): Promise<readonly Figure[]> {
  const calm = await measureAll(rivals, repeats);
  let stormy: Samples = calm;
  await storm(async () => {
    stormy = await measureAll(rivals, repeats);
  });
  return [...figures(calm, ""), ...figures(stormy, ", storm of links")];
}

type Samples = Readonly<Record<keyof FdbRivals, readonly number[]>>;

/** Rounds in which each has its turn, in an order of chance. */
async function measureAll(rivals: FdbRivals, repeats: number): Promise<Samples> {
  const samples: Record<keyof FdbRivals, number[]> = {
    one: [],
    eight: [],
    batch: [],
    bridgeBatch: [],
    fork: [],
  };
  const random = seededRandom(SEED);
  const names = Object.keys(samples) as (keyof FdbRivals)[];
  for (let round = 0; round < repeats; round += 1) {
    for (const name of shuffled(names, random)) {
      const times = name === "fork" || name === "bridgeBatch" ? 1 : QUICK_TIMES;
      for (let time = 0; time < times; time += 1) samples[name].push(await rivals[name].move());
    }
  }
  return samples;
}

function figures(samples: Samples, when: string): readonly Figure[] {
  const floor = `bridge -batch -, an entry of 64${when}`;
  return [
    figureOf(`agent, an entry of 64 in one send${when}`, "us", samples.batch, floor),
    figureOf(floor, "us", samples.bridgeBatch),
    figureOf(`agent, an entry alone${when}`, "us", samples.one, `forked bridge${when}`),
    figureOf(`forked bridge${when}`, "us", samples.fork),
    figureOf(
      `agent, all of 8 NICs in one send${when}`,
      "us",
      samples.eight.map((us) => us * 8),
    ),
  ];
}
