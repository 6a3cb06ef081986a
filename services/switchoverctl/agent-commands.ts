import type { UsageText } from "../config/usage.ts";
import { agentCommand, type Command } from "./command-line.ts";
import { abortDestination, cancelTransfer, type FencedCall, handBack } from "./fenced-calls.ts";
import {
  ABORT_DESTINATION_USAGE,
  CANCEL_TRANSFER_USAGE,
  FENCED_SETTINGS,
  HAND_BACK_USAGE,
} from "./fenced-settings.ts";
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
import { confirmAtTerminal } from "./with-client.ts";

/** A command that takes a coordinator's place at one agent. */
function fenced(name: string, usage: UsageText, run: FencedCall): Command {
  return agentCommand(
    name,
    { settings: FENCED_SETTINGS, usage, operands: ["MIGRATION_ID"] },
    (values, migrationId, client) =>
      run(values, migrationId, { client, screen: process.stdout, confirm: confirmAtTerminal }),
  );
}

/** The commands to one host's agent: no coordinator takes part. */
export const AGENT_COMMANDS: readonly Command[] = [
  agentCommand(
    "orphans",
    { settings: ORPHANS_SETTINGS, usage: ORPHANS_USAGE, operands: [], check: checkOrphansValues },
    (values, _operand, client) => orphans(values, client, process.stdout),
  ),
  agentCommand(
    "start-cpus",
    { settings: START_CPUS_SETTINGS, usage: START_CPUS_USAGE, operands: [] },
    (values, _operand, client) => startCpus(values, client, process.stdout),
  ),
  agentCommand(
    "report-cpu-state",
    { settings: REPORT_SETTINGS, usage: REPORT_USAGE, operands: [] },
    (values, _operand, client) => reportCpuState(values, client, process.stdout),
  ),
  agentCommand(
    "attach-nic",
    { settings: ATTACH_NIC_SETTINGS, usage: ATTACH_NIC_USAGE, operands: [] },
    (values, _operand, client) => attachNic(values, client, process.stdout),
  ),
  agentCommand(
    "detach-nic",
    { settings: DETACH_NIC_SETTINGS, usage: DETACH_NIC_USAGE, operands: [] },
    (values, _operand, client) => detachNic(values, client, process.stdout),
  ),
  fenced("cancel-transfer", CANCEL_TRANSFER_USAGE, cancelTransfer),
  fenced("abort-destination", ABORT_DESTINATION_USAGE, abortDestination),
  fenced("hand-back", HAND_BACK_USAGE, handBack),
];
