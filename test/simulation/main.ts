import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { parseWhole } from "../../services/config/parsers.ts";
import { type Failure, type SimulationOptions, simulate } from "./simulate.ts";
import { type Totals, totalsLine } from "./totals.ts";
import { BREAK_RULES, type BreakRule, breakageOf } from "./world/break-rules.ts";
import { generateSchedule } from "./world/generate-schedule.ts";
import { INVARIANTS, type Violation } from "./world/invariants.ts";
import { readSchedule } from "./world/read-schedule.ts";
import { runSchedule } from "./world/run.ts";
import type { Schedule } from "./world/schedule.ts";
import { shrinkSchedule } from "./world/shrink-schedule.ts";

const TRACE_LINES = 60;
const MOST_WORKERS = 1_024;

const PROGRESS_EVERY_MS = 60_000;

const HELP = `Usage: npm run -s simulate -- [--runs N] [--seed S] [--break RULE] [--schedule JSON] [--workers W] [--keep-going] [--trace]

Runs the real coordinator and the real agents in a simulated world: one schedule of migrations and faults a seed, every
invariant checked after every step. Exits with 1 at the first broken invariant, and says how to play that run again.

  --runs N         how many, with the seeds S, S+1, ... (default 1000)
  --seed S         the first seed (default 1)
  --break RULE     break a rule from outside, to see that it is found:
                   ${BREAK_RULES.slice(0, 6).join(" | ")} |
                   ${BREAK_RULES.slice(6).join(" | ")}
  --schedule JSON  play this schedule instead of the seed's
  --workers W      threads (default: one a CPU)
  --keep-going     play all of them, and name each seed that breaks one
  --trace          show what happens; for one run

  npm run -s simulate -- --runs 100000 --seed 1
  npm run -s simulate -- --runs 1000000 --keep-going
  npm run -s simulate -- --seed 4711 --runs 1 --trace
  npm run -s simulate -- --runs 10000 --break guard
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "1000" },
      seed: { type: "string", default: "1" },
      break: { type: "string" },
      schedule: { type: "string" },
      workers: { type: "string", default: String(availableParallelism()) },
      "keep-going": { type: "boolean", default: false },
      trace: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { runs, seed, workers, rule, schedule } = readValues(values);
  if (schedule !== undefined) return replay(schedule, "given", rule, values.trace);
  if (runs === 1) return replay(generateSchedule(seed), "of its seed", rule, values.trace);
  return playMany({ runs, seed, workers, rule, atFailure: values["keep-going"] ? "go on" : "stop" });
}

/** Tells on stderr how far it is, as long as it takes. */
async function playMany(options: SimulationOptions): Promise<number> {
  const beganAt = performance.now();
  const secondsPassed = () => (performance.now() - beganAt) / 1_000;
  let toldAt = beganAt;
  const onProgress = ({ runs }: Totals) => {
    if (performance.now() - toldAt < PROGRESS_EVERY_MS) return;
    toldAt = performance.now();
    process.stderr.write(`${runs} of ${options.runs} runs, ${secondsPassed().toFixed(0)} s\n`);
  };
  const onFailure = ({ seed, violation }: Failure) => {
    process.stderr.write(`Seed ${seed}: ${violation.invariant} is broken: ${violation.sentence}\n`);
  };
  const { totals, failures } = await simulate({ ...options, onProgress, onFailure });
  const seconds = secondsPassed();
  const [first] = failures;
  if (first !== undefined)
    await explain(generateSchedule(first.seed), "of its seed", first.violation, options.rule);
  process.stdout.write(`${totalsLine(totals, seconds, failures.length)}\n`);
  return first === undefined ? 0 : 1;
}

interface Texts {
  readonly runs: string;
  readonly seed: string;
  readonly workers: string;
  readonly break?: string | undefined;
  readonly schedule?: string | undefined;
}

/** Throws INVALID_ARGUMENT with a line for each of them that is wrong. */
function readValues(texts: Texts) {
  const faults: string[] = [];
  const read = <T>(parse: () => T): T | undefined => {
    try {
      return parse();
    } catch (thrown) {
      faults.push(SwitchoverError.from(thrown).message);
      return undefined;
    }
  };
  const count = (name: "runs" | "seed" | "workers", most: number) =>
    read(() => parseWhole(1, most)(texts[name], `--${name}`)) ?? 1;
  const values = {
    runs: count("runs", Number.MAX_SAFE_INTEGER),
    seed: count("seed", Number.MAX_SAFE_INTEGER),
    workers: count("workers", MOST_WORKERS),
    rule: read(() => parseRule(texts.break)),
    schedule: read(() => parseSchedule(texts.schedule)),
  };
  if (faults.length > 0) throw invalidArgument("flags", faults.join("\n"), "USAGE");
  return values;
}

function parseRule(text: string | undefined): BreakRule | undefined {
  const rule = BREAK_RULES.find((known) => known === text);
  if (text === undefined || rule !== undefined) return rule;
  throw invalidArgument("--break", `--break: "${text}" is no rule: ${BREAK_RULES.join(", ")}.`);
}

/** As `--schedule` was printed for a run. */
function parseSchedule(text: string | undefined): Schedule | undefined {
  return text === undefined ? undefined : readSchedule(text, "--schedule");
}

/** A given schedule is not the one that its seed stands for. */
type Origin = "given" | "of its seed";

/** One run, with its trace where that is asked for or something is wrong. */
async function replay(
  schedule: Schedule,
  origin: Origin,
  rule: BreakRule | undefined,
  trace: boolean,
): Promise<number> {
  const beganAt = performance.now();
  const show = (line: string) => process.stdout.write(`${line}\n`);
  const report = await runSchedule(schedule, breakageOf(rule), trace ? show : undefined);
  if (report.violation !== null) await explain(schedule, origin, report.violation, rule);
  const faults = Object.fromEntries(
    report.faults.map((kind) => [kind, report.faults.filter((one) => one === kind).length]),
  );
  const totals = { runs: 1, steps: report.steps, checks: report.checks, faults };
  process.stdout.write(
    `${totalsLine(totals, (performance.now() - beganAt) / 1_000, report.violation === null ? 0 : 1)}\n`,
  );
  return report.violation === null ? 0 : 1;
}

async function explain(
  schedule: Schedule,
  origin: Origin,
  violation: Violation,
  rule: BreakRule | undefined,
): Promise<void> {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const { invariant } = violation;
  const shrunk = await shrinkSchedule(schedule, async (simpler) => {
    const { violation: found } = await runSchedule(simpler, breakageOf(rule));
    return found?.invariant === invariant;
  });
  const lines: string[] = [];
  const { violation: found } = await runSchedule(shrunk, breakageOf(rule), (line) => lines.push(line));
  for (const line of lines.slice(-TRACE_LINES)) say(line);
  const breaking = rule === undefined ? "" : ` --break ${rule}`;
  say("");
  say(`${invariant} is broken: ${INVARIANTS[invariant]}`);
  say(violation.sentence);
  if (found !== null && found.sentence !== violation.sentence) say(`Shrunk: ${found.sentence}`);
  if (origin === "of its seed")
    say(`Again:  npm run -s simulate -- --seed ${schedule.seed} --runs 1${breaking}`);
  say(`Shrunk: npm run -s simulate --${breaking} --schedule '${JSON.stringify(shrunk)}'`);
}

try {
  process.exitCode = await main();
} catch (thrown) {
  const isOfParser =
    thrown instanceof Error && "code" in thrown && String(thrown.code).startsWith("ERR_PARSE_ARGS");
  const error = SwitchoverError.from(thrown);
  if (!isOfParser && error.reason !== "USAGE") throw thrown;
  process.stderr.write(`${error.message}\n\n${HELP}`);
  process.exitCode = 2;
}
