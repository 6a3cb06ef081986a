#!/usr/bin/env node
/**
 * switchoverctl: migrations, and what is left of them on a host, from the command line. Output that scripts read goes to stdout, complaints to stderr.
 */
import { AGENT_COMMANDS } from "./agent-commands.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { FLEET_COMMANDS } from "./fleet-commands.ts";
import { MIGRATION_COMMANDS } from "./migration-commands.ts";
import { NATS_COMMANDS } from "./nats-commands.ts";
import { PROGRAM_USAGE } from "./program-usage.ts";
import { SERVICE_COMMANDS } from "./service-commands.ts";

const COMMANDS = new Map([
  ...MIGRATION_COMMANDS,
  ...FLEET_COMMANDS,
  ...NATS_COMMANDS,
  ...AGENT_COMMANDS,
  ...SERVICE_COMMANDS,
]);

async function main([name, ...rest]: readonly string[]): Promise<number> {
  const run = name === undefined ? undefined : COMMANDS.get(name);
  if (run !== undefined) return run(rest);
  if (name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(PROGRAM_USAGE);
    return EXIT_CODES.done;
  }
  process.stderr.write(
    name === undefined ? PROGRAM_USAGE : `switchoverctl: "${name}" is no command; see switchoverctl --help\n`,
  );
  return EXIT_CODES.usage;
}

/** Whoever read the output may have seen enough, as `head` has; what was asked for goes on without them. */
function endUnread(error: NodeJS.ErrnoException): never {
  if (error.code !== "EPIPE") throw error;
  process.exit(EXIT_CODES.unread);
}

process.stdout.on("error", endUnread);
process.stderr.on("error", endUnread);
process.exitCode = await main(process.argv.slice(2));
