import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { repositoryRoot } from "../../lab/repository-root.ts";
import type { BenchProgram } from "../bench-program.ts";
import type { MicroResult } from "../micro/micro.ts";
import type { ScaleResult } from "../scale-run.ts";
import type { Measured } from "../switchover/measured.ts";
import { summarize } from "../switchover/summary.ts";
import { usageFault } from "../usage-fault.ts";
import { benchmarksDocument } from "./benchmarks-document.ts";

const HELP = `Usage: npm run -s bench -- document FILE... [--witnessed FILE]...

Writes docs/benchmarks.md of the JSON lines that switchover, micro and scale printed with --json. Of migrations in files
given by --witnessed (--kernel-witnesses all) only what the witnesses saw is told, no time.
`;

export const DOCUMENT: BenchProgram = {
  summary: "writes docs/benchmarks.md of what others printed",
  help: HELP,
  run,
};

async function run(args: readonly string[]): Promise<number> {
  const { positionals: files, values } = parseArgs({
    args: [...args],
    options: { witnessed: { type: "string", multiple: true, default: [] } },
    allowPositionals: true,
  });
  if (files.length === 0) throw usageFault("Name the files to read.");
  const lines = (await Promise.all(files.map(readValues))).flat();
  const timed = lines.filter((value): value is Measured => "contender" in value);
  const witnessed = (await Promise.all(values.witnessed.map(readValues))).flat().flatMap(withoutTimes);
  const measurements = {
    switchover: summarize([...timed, ...witnessed]),
    micro: lines.filter((value): value is MicroResult => "part" in value),
    scale: lines.filter((value): value is ScaleResult => "phase_lag_ms" in value),
  };
  const path = join(repositoryRoot(), "docs", "benchmarks.md");
  await writeFile(path, benchmarksDocument(measurements, new Date()));
  process.stderr.write(`Wrote ${path}.\n`);
  return 0;
}

/** The values of JSON lines; other lines are none. */
async function readValues(path: string): Promise<readonly object[]> {
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

function withoutTimes(value: object): readonly Measured[] {
  if (!("contender" in value)) return [];
  const line = value as Measured;
  return [
    {
      ...line,
      blackout_ms: null,
      blackout_ms_of: {},
      qemu_ms: null,
      stop_to_resume_ms: null,
      added_ms: null,
      stop_to_deregistered_us: null,
      ready_to_cont_us: null,
    },
  ];
}
