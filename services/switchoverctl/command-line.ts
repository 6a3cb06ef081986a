import { readConfigFile } from "../config/config-file.ts";
import { CONFIG_SETTING } from "../config/program-settings.ts";
import {
  environmentName,
  type Fault,
  readSettings,
  type Settings,
  type Values,
} from "../config/read-settings.ts";
import { faultsText, type UsageText, usage } from "../config/usage.ts";
import type { AgentClient } from "./agent-client.ts";
import type { CommandPorts } from "./commands.ts";
import { CONFIG_SETTINGS, CONNECTION_SETTINGS, defaultConfigPath } from "./connection-settings.ts";
import { EXIT_CODES } from "./exit-code.ts";
import type { CommonValues } from "./settings.ts";
import { withAgent, withCoordinator } from "./with-client.ts";

/** What a command can be told, and what its help says of it. */
export interface CommandLine<S extends Settings> {
  readonly settings: S;
  readonly usage: UsageText;
  /** What stands beside the flags, as help calls it; what is in brackets may be left out. */
  readonly operands: readonly string[];
  /** Faults that show only when flags are seen together. */
  readonly check?: (values: Values<S>) => readonly Fault[];
}

/** A command by its name: what it does with the words that follow, as an exit code. */
export type Command = readonly [name: string, run: (argv: readonly string[]) => Promise<number>];

/** A command with what it does once its command line is right. */
export function command<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  run: (values: Values<S>, operands: readonly string[]) => Promise<number>,
): Command {
  return [name, (argv) => runCommand(name, line, argv, run)];
}

/** A command that a coordinator carries out. */
export function coordinatorCommand<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  run: (values: Values<S>, operand: string, ports: CommandPorts) => Promise<number>,
): Command {
  return command(name, line, (values, [operand = ""]) =>
    withCoordinator(values as CommonValues, (ports) => run(values, operand, ports)),
  );
}

/** A command that one agent carries out. */
export function agentCommand<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  run: (values: Values<S>, operand: string, client: AgentClient) => Promise<number>,
): Command {
  return command(name, line, (values, [operand = ""]) =>
    withAgent((values as { readonly agent: string }).agent, (client) => run(values, operand, client)),
  );
}

async function runCommand<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  argv: readonly string[],
  run: (values: Values<S>, operands: readonly string[]) => Promise<number>,
): Promise<number> {
  const settings = { ...line.settings, ...CONFIG_SETTINGS };
  // Other variables belong to the server programs: the file that SWITCHOVER_CONFIG names there is an agent's, say.
  const { SWITCHOVER_AGENT, SWITCHOVER_COORDINATOR, SWITCHOVER_NATS_URL } = process.env;
  const environment = {
    SWITCHOVER_AGENT,
    SWITCHOVER_COORDINATOR,
    SWITCHOVER_NATS_URL,
    [environmentName(CONFIG_SETTING)]: defaultConfigPath(process.env),
  };
  const readFile = (path: string) => readConfigFile(path, CONNECTION_SETTINGS);
  const reading = readSettings(settings, argv, environment, line.operands.length, readFile);
  if (reading.t === "help") {
    process.stdout.write(usage(line.usage, settings));
    return EXIT_CODES.done;
  }
  const faults = reading.t === "faults" ? [...reading.faults] : [...(line.check?.(reading.values) ?? [])];
  if (reading.t === "settings") faults.push(...missingOperands(line.operands, reading.positionals));
  if (reading.t === "faults" || faults.length > 0) {
    process.stderr.write(faultsText(`switchoverctl ${name}`, faults));
    return EXIT_CODES.usage;
  }
  return run(reading.values, reading.positionals);
}

function missingOperands(operands: readonly string[], given: readonly string[]): readonly Fault[] {
  return operands
    .slice(given.length)
    .filter((operand) => !operand.startsWith("["))
    .map((operand) => ({ name: operand, sentence: `${operand} is required.` }));
}
