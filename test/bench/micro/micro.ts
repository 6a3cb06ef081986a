import { parseArgs } from "node:util";
import { machineText } from "../../lab/machine-text.ts";
import type { BenchProgram } from "../bench-program.ts";
import { textTable } from "../text-table.ts";
import { usageFault, wholeNumber } from "../usage-fault.ts";
import { AGENT } from "./agent.ts";
import { FDB } from "./fdb.ts";
import type { Figure, MicroPart } from "./figure.ts";
import { FIGURE_HEAD, figureCells } from "./figure-table.ts";
import { HAND_OFF } from "./hand-off.ts";
import { QMP } from "./qmp.ts";

const PARTS: readonly MicroPart[] = [FDB, QMP, HAND_OFF, AGENT];

const HELP = `Usage: npm run -s bench -- micro [PART]... [--repeats N] [--nics N] [--json]

Measures what a switchover is made of, each beside a floor in the same run where there is one, and prints p50, p99 and
maximum with the machine's description. Needs root. All parts, or of these:

${PARTS.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}\n`).join("")}
  --repeats N  rounds of the slowest; default 200
  --nics N     of the agent's host; default 10000
  --json       a JSON line a part

  npm run -s bench -- micro fdb hand-off
`;

export const MICRO: BenchProgram = {
  summary: "what a switchover is made of: netlink, QMP, NATS, an agent's size",
  help: HELP,
  run,
};

/** A JSON line. */
export interface MicroResult {
  readonly part: string;
  readonly machine: string;
  readonly figures: readonly Figure[];
}

async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      repeats: { type: "string", default: "200" },
      nics: { type: "string", default: "10000" },
      json: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const unknown = positionals.find((name) => PARTS.every((part) => part.name !== name));
  if (unknown !== undefined) throw usageFault(`There is no part "${unknown}".`);
  const scale = {
    repeats: wholeNumber(values.repeats, "--repeats", 1, 100_000),
    nics: wholeNumber(values.nics, "--nics", 1, 50_000),
  };
  const all: Figure[] = [];
  for (const part of PARTS) {
    if (positionals.length > 0 && !positionals.includes(part.name)) continue;
    const figures = await part.measure(scale);
    all.push(...figures);
    const result: MicroResult = { part: part.name, machine: machineText(), figures };
    if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  if (!values.json) process.stdout.write(`${textTable(FIGURE_HEAD, all.map(figureCells))}${machineText()}\n`);
  return 0;
}
