import assert from "node:assert/strict";
import { it } from "node:test";
import { AGENT_COMMANDS } from "../../services/switchoverctl/agent-commands.ts";
import type { Command } from "../../services/switchoverctl/command-line.ts";
import { FLEET_COMMANDS } from "../../services/switchoverctl/fleet-commands.ts";
import { MIGRATION_COMMANDS } from "../../services/switchoverctl/migration-commands.ts";
import { NATS_COMMANDS } from "../../services/switchoverctl/nats-commands.ts";
import { PROGRAM_USAGE } from "../../services/switchoverctl/program-usage.ts";
import { SERVICE_COMMANDS } from "../../services/switchoverctl/service-commands.ts";

const COMMANDS = [MIGRATION_COMMANDS, FLEET_COMMANDS, NATS_COMMANDS, AGENT_COMMANDS, SERVICE_COMMANDS].flat();

it("switchoverctl's help names every command, and no other, once", () => {
  const listed = [...PROGRAM_USAGE.matchAll(/^ {2}([a-z-]+) {2,}[A-Z]/gm)].map(([, name]) => name);
  assert.deepEqual([...listed].sort(), COMMANDS.map(([name]) => name).sort());
});

/** What a command prints to stdout. */
async function printedBy(run: Command[1], argv: readonly string[]): Promise<string> {
  const { write } = process.stdout;
  let printed = "";
  process.stdout.write = (text: unknown) => {
    printed += String(text);
    return true;
  };
  try {
    assert.equal(await run(argv), 0);
  } finally {
    process.stdout.write = write;
  }
  return printed;
}

it("every command's help says how it exits, has --json and --config, and examples", async () => {
  for (const [name, run] of COMMANDS) {
    const help = await printedBy(run, ["--help"]);
    for (const part of [/exit/i, /--json/, /--config PATH/, /\nExamples:\n {2}switchoverctl /]) {
      assert.match(help, part, name);
    }
  }
});
