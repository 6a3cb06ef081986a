import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { repositoryRoot } from "../../lab/repository-root.ts";
import type { BenchProgram } from "../bench-program.ts";
import { readJsonLines } from "../json-lines.ts";
import type { MicroResult } from "../micro/micro.ts";
import type { ScaleResult } from "../scale-run.ts";
import { isMeasured, type Measured } from "../switchover/measured.ts";
import { summarize } from "../switchover/summary.ts";
import { usageFault } from "../usage-fault.ts";
import { benchmarksDocument } from "./benchmarks-document.ts";

const HELP = `Usage: npm run -s bench -- document FILE... [--witnessed FILE]... [--note TEXT]

Writes docs/benchmarks.md of the JSON lines that switchover, micro and scale printed with --json. Of migrations in files
given by --witnessed (--kernel-witnesses all) only what the witnesses saw is told, no time. The note says what else was so on the machine.
`;

export const DOCUMENT: BenchProgram = {
  summary: "writes docs/benchmarks.md of what others printed",
  help: HELP,
  run,
};

async function run(args: readonly string[]): Promise<number> {
  const { positionals: files, values } = parseArgs({
    args: [...args],
    options: {
      witnessed: { type: "string", multiple: true, default: [] },
      note: { type: "string", default: "" },
    },
    allowPositionals: true,
  });
  if (files.length === 0) throw usageFault("Name the files to read.");
  const lines = (await Promise.all(files.map(readJsonLines))).flat();
  const timed = lines.filter(isMeasured);
  const witnessed = (await Promise.all(values.witnessed.map(readJsonLines))).flat();
  const measurements = {
    switchover: summarize([...timed, ...witnessed.filter(isMeasured).map(withoutTimes)]),
    micro: lines.filter((value): value is MicroResult => "part" in value),
    scale: lines.filter((value): value is ScaleResult => "phase_lag_ms" in value),
  };
  const path = join(repositoryRoot(), "docs", "benchmarks.md");
  await writeFile(path, benchmarksDocument(measurements, values.note, new Date()));
  process.stderr.write(`Wrote ${path}.\n`);
  return 0;
}

function withoutTimes(line: Measured): Measured {
  return {
    ...line,
    blackout_ms: null,
    blackout_ms_of: {},
    qemu_ms: null,
    stop_to_resume_ms: null,
    added_ms: null,
    stop_to_deregistered_us: null,
    ready_to_cont_us: null,
  };
}
