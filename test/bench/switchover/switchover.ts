import { parseArgs } from "node:util";
import type { BenchProgram } from "../bench-program.ts";
import { readJsonLines } from "../json-lines.ts";
import { textTable } from "../text-table.ts";
import { usageFault, wholeNumber } from "../usage-fault.ts";
import type { ContenderOptions } from "./lab-of-contenders.ts";
import { isMeasured, type Measured } from "./measured.ts";
import { CONTENDERS, DEVICES, MODES, NIC_COUNTS, planBlocks, type Selection } from "./plan.ts";
import { runBlocks } from "./run-blocks.ts";
import { summarize } from "./summary.ts";
import { SUMMARY_HEAD, summaryCells } from "./summary-table.ts";

const HELP = `Usage: npm run -s bench -- switchover [--count N] [--seed N] [--json] ...
       npm run -s bench -- switchover --from FILE [--from FILE]... [--json]

Migrates real guests between two hosts of a lab with everything on this machine, each round every contender once in an
order of chance, and prints what the switch cost peers on both hosts, who probe the guest all the time. Exits 1 if a
migration could not be measured.

  bare        QEMU alone, learning bridges, macvtaps up from the beginning: the floor
  switchover  coordinator, agents, nats-server
  shell       the same steps by one forked bridge or ip a NIC, at STOP and before cont
  early       entries when the devices are made: the known mistake (on taps; macvtaps of "bare" are up as early)

  --count N              rounds; default 1
  --contender, --mode, --nics, --device
                         only these, with commas between (bare,switchover  live,post-copy  1,8  tap,macvtap)
  --seed N               of the order; default one of chance, which is printed
  --probe-interval-ms N  default 1
  --kernel-witnesses all also watch the kernels of both hosts, for all contenders (default none, where time counts)
  --from FILE            measures nothing: summarizes the JSON lines of earlier runs together
  --json                 a JSON line a migration, then one with the summary

blackout_ms: the longest silence around the switch, of the peer that had the longer one. A pair is a contender and the floor
in one round and row; the mean's interval is a bootstrap's, the median's that of order statistics. "At QEMU's equal time" is
what is left where QEMU needed the same from STOP until the destination was loaded: a line through the pairs, by bootstrap.
added_ms: RESUME - max(ready, hand-off
possible).

  npm run -s bench -- switchover --count 30 --json > lines
  npm run -s bench -- switchover --count 5 --device tap --nics 1 --contender bare,switchover
`;

export const SWITCHOVER: BenchProgram = {
  summary: "what a switchover costs beside QEMU alone and beside forked commands",
  help: HELP,
  run,
};

async function run(args: readonly string[]): Promise<number> {
  const { from, json, options, selection } = readSettings(args);
  const faults: string[] = [];
  let lines: readonly Measured[];
  if (from.length > 0) lines = (await Promise.all(from.map(readJsonLines))).flat().filter(isMeasured);
  else {
    process.stderr.write(`Seed ${selection.seed}.\n`);
    const tell = (line: Measured) =>
      void process.stdout.write(json ? `${JSON.stringify(line)}\n` : textOf(line));
    const done = await runBlocks(planBlocks(selection), options, tell);
    lines = done.lines;
    faults.push(...done.faults);
  }
  const summary = summarize(lines);
  process.stdout.write(
    json ? `${JSON.stringify(summary)}\n` : textTable(SUMMARY_HEAD, summary.rows.map(summaryCells)),
  );
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  return faults.length === 0 ? 0 : 1;
}

function textOf({ contender, device, mode, nics, round, ...line }: Measured): string {
  const figures = [
    `blackout ${line.blackout_ms ?? "?"} ms`,
    `STOP to RESUME ${line.stop_to_resume_ms ?? "?"} ms`,
    ...(line.added_ms === null ? [] : [`added ${line.added_ms} ms`]),
    ...(line.guest_alive ? [] : ["the emulator killed the guest"]),
  ];
  return `${round} ${device} ${nics} ${mode} ${contender}: ${figures.join(", ")}\n`;
}

function readSettings(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      count: { type: "string", default: "1" },
      contender: { type: "string", default: CONTENDERS.join() },
      mode: { type: "string", default: MODES.join() },
      nics: { type: "string", default: NIC_COUNTS.join() },
      device: { type: "string", default: DEVICES.join() },
      seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
      "probe-interval-ms": { type: "string", default: "1" },
      "kernel-witnesses": { type: "string", default: "none" },
      from: { type: "string", multiple: true, default: [] },
      json: { type: "boolean", default: false },
    },
  });
  const seed = wholeNumber(values.seed, "--seed", 0, 2 ** 31);
  const [kernelWitnesses = "none"] = someOf(values["kernel-witnesses"], "--kernel-witnesses", [
    "all",
    "none",
  ] as const);
  const selection: Selection = {
    contenders: someOf(values.contender, "--contender", CONTENDERS),
    modes: someOf(values.mode, "--mode", MODES),
    nics: someOf(values.nics, "--nics", NIC_COUNTS),
    devices: someOf(values.device, "--device", DEVICES),
    count: wholeNumber(values.count, "--count", 1, 10_000),
    seed,
  };
  const probeIntervalMs = wholeNumber(values["probe-interval-ms"], "--probe-interval-ms", 1, 50);
  const options: ContenderOptions = { seed, kernelWitnesses, probeIntervalMs, coordinatorScheduling: "idle" };
  return { from: values.from, json: values.json, options, selection };
}

function someOf<T extends string | number>(text: string, flag: string, all: readonly T[]): readonly T[] {
  const wanted = text.split(",");
  const unknown = wanted.find((word) => !all.some((known) => String(known) === word));
  if (unknown !== undefined) throw usageFault(`${flag} must be of ${all.join(", ")}, not "${unknown}".`);
  return all.filter((known) => wanted.includes(String(known)));
}
