import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { BenchProgram } from "./bench-program.ts";
import { scaleDocument } from "./scale-document.ts";
import { runScale, type ScaleResult, type ScaleSettings } from "./scale-run.ts";
import { usageFault, wholeNumber } from "./usage-fault.ts";

const DOCUMENT = "docs/scale.md";

const HELP = `Usage: npm run -s bench -- scale [--hosts N] [--concurrent N[,N...]] [--mode MODE] [--json] ...

One real coordinator (its own process) and one nats-server, with a fleet around them: real agents over real gRPC and
NATS, on hosts whose kernel and QEMU are pretended, many in a process. Migrates guests, so many at a time, and prints
how long a command takes from the event that makes it due to its agent, and what that costs. Exits 1 if a migration did
not complete or an invariant broke.

  --hosts N            hosts that are registered by heartbeats; 2 to 16000, default 1000
  --concurrent N,...   migrations under way at a time; several give a table of growth; default 100
  --migrations N       in all; default twice as many as are under way at a time
  --mode MODE          live, post-copy or mixed (default)
  --copy-ms N,...      how long a guest's memory is copied: one for all, or one for each of --concurrent; default 20000
  --fleet-processes N  default one a CPU
  --profile FOLDER     writes a CPU profile of the coordinator there (node --cpu-prof)
  --json               one JSON line a number of --concurrent
  --write-docs         writes ${DOCUMENT} from these runs
  --add FILE           JSON lines of earlier runs, for --write-docs to have on its page as well

phase_lag_ms: event published -> next command received by its agent. step_lag_ms: an agent's answer -> the next command
that waited for it. All on one clock. Messages and idle CPU of heartbeats are measured before and taken off the messages.

  npm run -s bench -- scale --hosts 10000 --concurrent 1000 --json
  npm run -s bench -- scale --hosts 10000 --concurrent 100,1000,5000
  npm run -s bench -- scale --hosts 10000 --concurrent 100,5000 --copy-ms 20000,300000 --json >/tmp/scale.jsonl
  npm run -s bench -- scale --hosts 10000 --concurrent 1000 --copy-ms 90000 --write-docs --add /tmp/scale.jsonl
`;

export const SCALE: BenchProgram = {
  summary: "a coordinator with thousands of hosts and migrations",
  help: HELP,
  run,
};

async function run(args: readonly string[]): Promise<number> {
  const { addFrom, copiesMs, levels, json, settings, writesDocument } = readSettings(args);
  const earlier = addFrom === undefined ? [] : await readResults(addFrom);
  if (settings.profileTo !== undefined) await mkdir(settings.profileTo, { recursive: true });
  const results: ScaleResult[] = [];
  for (const [index, concurrent] of levels.entries()) {
    const migrations = settings.migrations ?? 2 * concurrent;
    const copyMs = copiesMs[copiesMs.length === 1 ? 0 : index] ?? 0;
    const result = await runScale({ ...settings, concurrent, migrations, copyMs });
    results.push(result);
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  if (!json) process.stdout.write(tableOf(results));
  if (writesDocument) await writeFile(DOCUMENT, scaleDocument([...earlier, ...results]));
  return results.every(({ completed, faults, migrations }) => completed === migrations && faults.length === 0)
    ? 0
    : 1;
}

async function readResults(file: string): Promise<readonly ScaleResult[]> {
  const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line) as ScaleResult);
}

type CommonSettings = Omit<ScaleSettings, "concurrent" | "migrations" | "copyMs"> & {
  readonly migrations: number | undefined;
};

function readSettings(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      hosts: { type: "string", default: "1000" },
      concurrent: { type: "string", default: "100" },
      migrations: { type: "string" },
      mode: { type: "string", default: "mixed" },
      "copy-ms": { type: "string", default: "20000" },
      "fleet-processes": { type: "string", default: String(availableParallelism()) },
      profile: { type: "string" },
      json: { type: "boolean", default: false },
      "write-docs": { type: "boolean", default: false },
      add: { type: "string" },
    },
  });
  const { mode, profile } = values;
  if (mode !== "live" && mode !== "post-copy" && mode !== "mixed") {
    throw usageFault("--mode must be live, post-copy or mixed.");
  }
  const settings: CommonSettings = {
    hosts: wholeNumber(values.hosts, "--hosts", 2, 16_000),
    migrations:
      values.migrations === undefined ? undefined : wholeNumber(values.migrations, "--migrations", 1, 1e6),
    mode,
    fleetProcesses: wholeNumber(values["fleet-processes"], "--fleet-processes", 1, 64),
    profileTo: profile,
    tell: (sentence) => void process.stderr.write(`${sentence}\n`),
  };
  const levels = values.concurrent.split(",").map((text) => wholeNumber(text, "--concurrent", 1, 100_000));
  const copiesMs = values["copy-ms"].split(",").map((text) => wholeNumber(text, "--copy-ms", 10, 600_000));
  if (copiesMs.length !== 1 && copiesMs.length !== levels.length) {
    throw usageFault("--copy-ms must be one number, or one for each of --concurrent.");
  }
  return {
    settings,
    levels,
    copiesMs,
    json: values.json,
    writesDocument: values["write-docs"],
    addFrom: values.add,
  };
}

/** One row a level. */
function tableOf(results: readonly ScaleResult[]): string {
  const head = [
    "concurrent",
    "done",
    "per s",
    "lag p50",
    "p99",
    "max ms",
    "CPU ms",
    "CPU %",
    "RSS MB",
    "msgs in",
    "out",
  ];
  const rows = results.map((result) => {
    const { coordinator, nats_messages_per_migration: messages, phase_lag_ms: lag } = result;
    return [
      result.concurrent,
      `${result.completed}/${result.migrations}`,
      result.migrations_per_s,
      lag.p50,
      lag.p99,
      lag.max,
      Math.round(coordinator.cpu_s_per_migration * 10_000) / 10,
      coordinator.cpu_percent,
      coordinator.rss_mb_peak,
      messages.in,
      messages.out,
    ].map(String);
  });
  const widths = head.map((name, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0), name.length),
  );
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  ");
  const faults = results.flatMap(({ faults: sentences }) => sentences);
  return [line(head), ...rows.map(line), ...faults].map((text) => `${text}\n`).join("");
}
