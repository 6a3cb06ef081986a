import { SwitchoverError } from "../../proto/error.ts";
import type { BenchProgram } from "./bench-program.ts";
import { DOCUMENT } from "./document/document.ts";
import { MICRO } from "./micro/micro.ts";
import { SCALE } from "./scale.ts";
import { SWITCHOVER } from "./switchover/switchover.ts";

const PROGRAMS: Readonly<Record<string, BenchProgram>> = {
  switchover: SWITCHOVER,
  micro: MICRO,
  scale: SCALE,
  document: DOCUMENT,
};

const HELP = `Usage: npm run -s bench -- NAME [flags]

${Object.entries(PROGRAMS)
  .map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}\n`)
  .join("")}
  npm run -s bench -- scale --help
`;

async function main([name = "", ...args]: readonly string[]): Promise<number> {
  const program = PROGRAMS[name];
  const asksForHelp = [name, ...args].some((arg) => arg === "--help" || arg === "-h");
  if (asksForHelp || program === undefined) {
    const stream = asksForHelp ? process.stdout : process.stderr;
    stream.write(program?.help ?? HELP);
    return asksForHelp ? 0 : 2;
  }
  try {
    return await program.run(args);
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    const isUsage =
      error.reason === "USAGE" || (thrown as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS");
    process.stderr.write(isUsage ? `${error.message}\n\n${program.help}` : `${error.message}\n`);
    return isUsage ? 2 : 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
