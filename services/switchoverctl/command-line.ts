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
import { checkTlsValues, TLS_SETTINGS, type TlsValues } from "../tls/tls-settings.ts";
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
    withCoordinator(values as unknown as CommonValues & TlsValues, (ports) => run(values, operand, ports)),
  );
}

/** A command that one agent carries out. */
export function agentCommand<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  run: (values: Values<S>, operand: string, client: AgentClient) => Promise<number>,
): Command {
  return command(name, line, (values, [operand = ""]) =>
    withAgent(values as unknown as { readonly agent: string } & TlsValues, (client) =>
      run(values, operand, client),
    ),
  );
}

async function runCommand<S extends Settings>(
  name: string,
  line: CommandLine<S>,
  argv: readonly string[],
  run: (values: Values<S>, operands: readonly string[]) => Promise<number>,
): Promise<number> {
  const asksByGrpc = ASKED_BY_GRPC.some((flag) => flag in line.settings);
  const settings = { ...line.settings, ...(asksByGrpc ? TLS_SETTINGS : {}), ...CONFIG_SETTINGS };
  // Other variables belong to the server programs: the file that SWITCHOVER_CONFIG names there is an agent's, say.
  const variables = Object.keys(CONNECTION_SETTINGS).map(environmentName);
  const environment = {
    ...Object.fromEntries(variables.map((variable) => [variable, process.env[variable]])),
    [environmentName(CONFIG_SETTING)]: defaultConfigPath(process.env),
  };
  const readFile = (path: string) => readConfigFile(path, CONNECTION_SETTINGS);
  const reading = readSettings(settings, argv, environment, line.operands.length, readFile);
  if (reading.t === "help") {
    const { environment: named } = line.usage;
    const also = asksByGrpc && named !== "every flag" ? [...named, ...Object.keys(TLS_SETTINGS)] : named;
    process.stdout.write(usage({ ...line.usage, environment: also }, settings));
    return EXIT_CODES.done;
  }
  const faults = reading.t === "faults" ? [...reading.faults] : [...(line.check?.(reading.values) ?? [])];
  if (reading.t === "settings" && asksByGrpc) faults.push(...securityFaults(reading.values));
  if (reading.t === "settings") faults.push(...missingOperands(line.operands, reading.positionals));
  if (reading.t === "faults" || faults.length > 0) {
    process.stderr.write(faultsText(`switchoverctl ${name}`, faults));
    return EXIT_CODES.usage;
  }
  return run(reading.values, reading.positionals);
}

/** The flags that say whom a command asks, the one that counts first. */
const ASKED_BY_GRPC = ["target", "agent", "coordinator"] as const;

function securityFaults(values: Readonly<Record<string, unknown>>): readonly Fault[] {
  const flag = ASKED_BY_GRPC.find((name) => typeof values[name] === "string");
  const target = flag === undefined ? [] : [[`--${flag}`, String(values[flag])] as const];
  return checkTlsValues(values as unknown as TlsValues, target);
}

function missingOperands(operands: readonly string[], given: readonly string[]): readonly Fault[] {
  return operands
    .slice(given.length)
    .filter((operand) => !operand.startsWith("["))
    .map((operand) => ({ name: operand, sentence: `${operand} is required.` }));
}
