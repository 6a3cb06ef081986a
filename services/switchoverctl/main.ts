#!/usr/bin/env node
/**
 * switchoverctl: migrations, and what is left of them on a host, from the command line. Output that scripts read goes to stdout, complaints to stderr.
 */
import { type Fault, readSettings, type Settings, type Values } from "../config/read-settings.ts";
import { faultsText, type UsageText, usage } from "../config/usage.ts";
import { backup, restore } from "./backup.ts";
import { BACKUP_SETTINGS, BACKUP_USAGE, RESTORE_SETTINGS, RESTORE_USAGE } from "./backup-settings.ts";
import { type CommandPorts, migrate, show, watch } from "./commands.ts";
import { cancelDrain, drain, showDrain, watchDrain } from "./drain.ts";
import {
  CANCEL_DRAIN_SETTINGS,
  CANCEL_DRAIN_USAGE,
  checkDrainValues,
  DRAIN_SETTINGS,
  DRAIN_USAGE,
  SHOW_DRAIN_SETTINGS,
  SHOW_DRAIN_USAGE,
  WATCH_DRAIN_USAGE,
} from "./drain-settings.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { abortDestination, cancelTransfer, type FencedCall, handBack } from "./fenced-calls.ts";
import {
  ABORT_DESTINATION_USAGE,
  CANCEL_TRANSFER_USAGE,
  FENCED_SETTINGS,
  HAND_BACK_USAGE,
} from "./fenced-settings.ts";
import { host, hosts } from "./hosts.ts";
import { HOST_SETTINGS, HOST_USAGE, HOSTS_SETTINGS, HOSTS_USAGE } from "./hosts-settings.ts";
import {
  CANCEL_USAGE,
  checkResolveValues,
  INTERVENTION_SETTINGS,
  PAUSE_USAGE,
  POST_COPY_USAGE,
  RECOVER_USAGE,
  RESOLVE_SETTINGS,
  RESOLVE_USAGE,
} from "./intervention-settings.ts";
import { cancel, pause, recover, resolve, switchToPostCopy } from "./interventions.ts";
import { list } from "./list.ts";
import { checkListValues, LIST_SETTINGS, LIST_USAGE } from "./list-settings.ts";
import {
  ATTACH_NIC_SETTINGS,
  ATTACH_NIC_USAGE,
  DETACH_NIC_SETTINGS,
  DETACH_NIC_USAGE,
} from "./nic-settings.ts";
import { attachNic, detachNic } from "./nics.ts";
import { orphans } from "./orphans.ts";
import { checkOrphansValues, ORPHANS_SETTINGS, ORPHANS_USAGE } from "./orphans-settings.ts";
import { reportCpuState, startCpus } from "./owner-calls.ts";
import { REPORT_SETTINGS, REPORT_USAGE, START_CPUS_SETTINGS, START_CPUS_USAGE } from "./owner-settings.ts";
import { receipt } from "./receipt.ts";
import { RECEIPT_SETTINGS, RECEIPT_USAGE } from "./receipt-settings.ts";
import {
  type CommonValues,
  checkMigrateValues,
  MIGRATE_SETTINGS,
  MIGRATE_USAGE,
  PROGRAM_USAGE,
  SHOW_SETTINGS,
  SHOW_USAGE,
  WATCH_SETTINGS,
  WATCH_USAGE,
} from "./settings.ts";
import { confirmAtTerminal, withAgent, withCoordinator, withNats } from "./with-client.ts";

interface CommandLine<S extends Settings> {
  readonly settings: S;
  readonly usage: UsageText;
  /** What stands beside the flags, as help calls it. */
  readonly operand: "none" | "MIGRATION_ID" | "HOST_ID" | "DRAIN_ID" | "FILE";
  readonly check: (values: Values<S>) => readonly Fault[];
}

/** A command that a coordinator carries out. */
interface Command<S extends Settings> extends CommandLine<S> {
  readonly run: (values: Values<S>, operand: string, ports: CommandPorts) => Promise<number>;
}

function command<S extends Settings>(name: string, of: Command<S>): readonly [string, Run] {
  return [
    name,
    (argv) =>
      runCommand(name, argv, of, (values, operand) =>
        withCoordinator(values as CommonValues, (ports) => of.run(values, operand, ports)),
      ),
  ];
}

type Run = (argv: readonly string[]) => Promise<number>;

/** A command that asks something of a migration that has begun. */
function intervention(
  name: string,
  text: UsageText,
  run: Command<typeof INTERVENTION_SETTINGS>["run"],
): readonly [string, Run] {
  const settings = INTERVENTION_SETTINGS;
  return command(name, { settings, usage: text, operand: "MIGRATION_ID", check: () => [], run });
}

/** A command that one agent carries out, in a coordinator's place. */
function fenced(name: string, text: UsageText, run: FencedCall): readonly [string, Run] {
  const line: CommandLine<typeof FENCED_SETTINGS> = {
    settings: FENCED_SETTINGS,
    usage: text,
    operand: "MIGRATION_ID",
    check: () => [],
  };
  return [
    name,
    (argv) =>
      runCommand(name, argv, line, (values, migrationId) =>
        withAgent(values.agent, (client) =>
          run(values, migrationId, { client, screen: process.stdout, confirm: confirmAtTerminal }),
        ),
      ),
  ];
}

const ORPHANS_COMMAND: CommandLine<typeof ORPHANS_SETTINGS> = {
  settings: ORPHANS_SETTINGS,
  usage: ORPHANS_USAGE,
  operand: "none",
  check: checkOrphansValues,
};

const REPORT_COMMAND: CommandLine<typeof REPORT_SETTINGS> = {
  settings: REPORT_SETTINGS,
  usage: REPORT_USAGE,
  operand: "none",
  check: () => [],
};

const ATTACH_NIC_COMMAND: CommandLine<typeof ATTACH_NIC_SETTINGS> = {
  settings: ATTACH_NIC_SETTINGS,
  usage: ATTACH_NIC_USAGE,
  operand: "none",
  check: () => [],
};

const START_CPUS_COMMAND: CommandLine<typeof START_CPUS_SETTINGS> = {
  settings: START_CPUS_SETTINGS,
  usage: START_CPUS_USAGE,
  operand: "none",
  check: () => [],
};

const DETACH_NIC_COMMAND: CommandLine<typeof DETACH_NIC_SETTINGS> = {
  settings: DETACH_NIC_SETTINGS,
  usage: DETACH_NIC_USAGE,
  operand: "none",
  check: () => [],
};

const BACKUP_COMMAND: CommandLine<typeof BACKUP_SETTINGS> = {
  settings: BACKUP_SETTINGS,
  usage: BACKUP_USAGE,
  operand: "FILE",
  check: () => [],
};

const RESTORE_COMMAND: CommandLine<typeof RESTORE_SETTINGS> = {
  settings: RESTORE_SETTINGS,
  usage: RESTORE_USAGE,
  operand: "FILE",
  check: () => [],
};

const COMMANDS: ReadonlyMap<string, Run> = new Map([
  command("migrate", {
    settings: MIGRATE_SETTINGS,
    usage: MIGRATE_USAGE,
    operand: "none",
    check: checkMigrateValues,
    run: (values, _operand, ports) => migrate(values, ports),
  }),
  command("show", {
    settings: SHOW_SETTINGS,
    usage: SHOW_USAGE,
    operand: "MIGRATION_ID",
    check: () => [],
    run: (_values, operand, ports) => show(operand, ports),
  }),
  command("list", {
    settings: LIST_SETTINGS,
    usage: LIST_USAGE,
    operand: "none",
    check: checkListValues,
    run: (values, _operand, ports) => list(values, ports),
  }),
  command("receipt", {
    settings: RECEIPT_SETTINGS,
    usage: RECEIPT_USAGE,
    operand: "MIGRATION_ID",
    check: () => [],
    run: (_values, operand, ports) => receipt(operand, ports),
  }),
  command("hosts", {
    settings: HOSTS_SETTINGS,
    usage: HOSTS_USAGE,
    operand: "none",
    check: () => [],
    run: (_values, _operand, ports) => hosts(ports),
  }),
  command("host", {
    settings: HOST_SETTINGS,
    usage: HOST_USAGE,
    operand: "HOST_ID",
    check: () => [],
    run: (_values, operand, ports) => host(operand, ports),
  }),
  command("watch", {
    settings: WATCH_SETTINGS,
    usage: WATCH_USAGE,
    operand: "MIGRATION_ID",
    check: () => [],
    run: (_values, operand, ports) => watch(operand, ports),
  }),
  intervention("cancel", CANCEL_USAGE, cancel),
  intervention("post-copy", POST_COPY_USAGE, switchToPostCopy),
  intervention("pause", PAUSE_USAGE, pause),
  intervention("recover", RECOVER_USAGE, recover),
  command("resolve", {
    settings: RESOLVE_SETTINGS,
    usage: RESOLVE_USAGE,
    operand: "MIGRATION_ID",
    check: checkResolveValues,
    run: resolve,
  }),
  command("drain", {
    settings: DRAIN_SETTINGS,
    usage: DRAIN_USAGE,
    operand: "none",
    check: checkDrainValues,
    run: (values, _operand, ports) => drain(values, ports),
  }),
  command("show-drain", {
    settings: SHOW_DRAIN_SETTINGS,
    usage: SHOW_DRAIN_USAGE,
    operand: "DRAIN_ID",
    check: () => [],
    run: (_values, operand, ports) => showDrain(operand, ports),
  }),
  command("watch-drain", {
    settings: SHOW_DRAIN_SETTINGS,
    usage: WATCH_DRAIN_USAGE,
    operand: "DRAIN_ID",
    check: () => [],
    run: (_values, operand, ports) => watchDrain(operand, ports),
  }),
  command("cancel-drain", {
    settings: CANCEL_DRAIN_SETTINGS,
    usage: CANCEL_DRAIN_USAGE,
    operand: "DRAIN_ID",
    check: () => [],
    run: cancelDrain,
  }),
  [
    "orphans",
    (argv) =>
      runCommand("orphans", argv, ORPHANS_COMMAND, (values) =>
        withAgent(values.agent, (client) => orphans(values, client, process.stdout)),
      ),
  ],
  [
    "start-cpus",
    (argv) =>
      runCommand("start-cpus", argv, START_CPUS_COMMAND, (values) =>
        withAgent(values.agent, (client) => startCpus(values, client, process.stdout)),
      ),
  ],
  [
    "report-cpu-state",
    (argv) =>
      runCommand("report-cpu-state", argv, REPORT_COMMAND, (values) =>
        withAgent(values.agent, (client) => reportCpuState(values, client, process.stdout)),
      ),
  ],
  [
    "attach-nic",
    (argv) =>
      runCommand("attach-nic", argv, ATTACH_NIC_COMMAND, (values) =>
        withAgent(values.agent, (client) => attachNic(values, client, process.stdout)),
      ),
  ],
  [
    "detach-nic",
    (argv) =>
      runCommand("detach-nic", argv, DETACH_NIC_COMMAND, (values) =>
        withAgent(values.agent, (client) => detachNic(values, client, process.stdout)),
      ),
  ],
  [
    "backup",
    (argv) =>
      runCommand("backup", argv, BACKUP_COMMAND, (values, file) =>
        withNats(values["nats-url"], (link) => backup(values, file, link, process.stdout)),
      ),
  ],
  [
    "restore",
    (argv) =>
      runCommand("restore", argv, RESTORE_COMMAND, (values, file) =>
        withNats(values["nats-url"], (link) =>
          restore(values, file, { link, screen: process.stdout, confirm: confirmAtTerminal }),
        ),
      ),
  ],
  fenced("cancel-transfer", CANCEL_TRANSFER_USAGE, cancelTransfer),
  fenced("abort-destination", ABORT_DESTINATION_USAGE, abortDestination),
  fenced("hand-back", HAND_BACK_USAGE, handBack),
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

async function runCommand<S extends Settings>(
  name: string,
  argv: readonly string[],
  command: CommandLine<S>,
  run: (values: Values<S>, operand: string) => Promise<number>,
): Promise<number> {
  // Other variables of the environment belong to the server programs.
  const { SWITCHOVER_AGENT, SWITCHOVER_COORDINATOR, SWITCHOVER_NATS_URL } = process.env;
  const environment = { SWITCHOVER_AGENT, SWITCHOVER_COORDINATOR, SWITCHOVER_NATS_URL };
  const operandLimit = command.operand === "none" ? 0 : 1;
  const reading = readSettings(command.settings, argv, environment, operandLimit);
  if (reading.t === "help") {
    process.stdout.write(usage(command.usage, command.settings));
    return EXIT_CODES.done;
  }
  const faults = reading.t === "faults" ? [...reading.faults] : [...command.check(reading.values)];
  const operand = reading.t === "settings" ? reading.positionals[0] : undefined;
  if (reading.t === "settings" && command.operand !== "none" && operand === undefined) {
    faults.push({ name: command.operand, sentence: `${command.operand} is required.` });
  }
  if (reading.t === "faults" || faults.length > 0) {
    process.stderr.write(faultsText(`switchoverctl ${name}`, faults));
    return EXIT_CODES.usage;
  }
  return run(reading.values, operand ?? "");
}

process.exitCode = await main(process.argv.slice(2));
