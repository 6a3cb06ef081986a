import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import { usageFault, wholeNumber } from "../bench/usage-fault.ts";
import { runChaos } from "./chaos-run.ts";

const HELP = `Usage: npm run -s chaos -- [--migrations N] [--seconds N] [--seed N] [--hosts N] [--keep FOLDER] [--json]

Three nats-servers (one JetStream cluster, three replicas), three coordinators and a fleet of pretended hosts with real
agents, as processes of their own. While the migrations are under way, one of the six, at random, is killed (SIGKILL)
every second, and started again as a service manager does. Then nobody is killed any more, and it is judged: every
migration has ended, none twice; no guest ran twice, no agent acted on an older fence; each guest runs where its
migration says, and is registered there alone; the feed is complete and in order, for an observer who was there all the
time and for one who reads the stream afterwards. Exits 1 where any of that is not so.

  --migrations N  under way when the first is killed, and a fifth as many more while they are killed; default 500
  --seconds N     how long one is killed every second; default 60
  --seed N        who is killed when, and how long it is away; default one of the clock, printed
  --hosts N       default 200
  --keep FOLDER   leaves logs and stores there
  --json          the result as one JSON line

  npm run -s chaos
  npm run -s chaos -- --migrations 30 --seconds 15 --seed 7
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      migrations: { type: "string", default: "500" },
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      hosts: { type: "string", default: "200" },
      keep: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.keep === "") throw usageFault("--keep must name a folder.");
  if (values.keep !== undefined) await mkdir(values.keep, { recursive: true });
  const settings = {
    seed: wholeNumber(values.seed, "--seed", 0, Number.MAX_SAFE_INTEGER),
    migrations: wholeNumber(values.migrations, "--migrations", 1, 10_000),
    seconds: wholeNumber(values.seconds, "--seconds", 1, 3_600),
    hosts: wholeNumber(values.hosts, "--hosts", 4, 10_000),
    keepIn: values.keep,
    tell: (sentence: string) => void process.stderr.write(`${sentence}\n`),
  };
  settings.tell(`Seed ${settings.seed}.`);
  const result = await runChaos(settings);
  const { faults, ...rest } = result;
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else
    for (const [name, value] of Object.entries(rest))
      process.stdout.write(`${name}: ${JSON.stringify(value)}\n`);
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.stdout.write(values.json ? "" : `${faults.length} faults\n`);
  return faults.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (thrown) {
  const { message, reason } = SwitchoverError.from(thrown);
  process.stderr.write(reason === "USAGE" ? `${message}\n\n${HELP}` : `${message}\n`);
  process.exitCode = reason === "USAGE" ? 2 : 1;
}
