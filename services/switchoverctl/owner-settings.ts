import { invalidArgument } from "../../proto/error.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import { parseTarget, parseWhole } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, optional, required } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";

/** Flags and help of the commands of a VMM's owner. */
const TARGET_SETTINGS = {
  agent: required(parseTarget, { placeholder: "TARGET", help: "The host's agent, HOST:PORT or unix:/PATH" }),
  guest: required(parseGuestId, { placeholder: "ID", help: "The guest" }),
  instance: optional(parseInstanceId, "not needed where there is one", {
    placeholder: "ID",
    help: "The guest's instance on that host",
  }),
  json: onOff("Print the agent's answer as proto3 JSON"),
};

export const START_CPUS_SETTINGS = {
  "runs-nowhere-else": onOff(
    "State that no other instance of the guest runs, where its agent has forgotten (WORD_FORGOTTEN)",
  ),
  ...TARGET_SETTINGS,
};

export const REPORT_SETTINGS = {
  cpus: required(parseCpus, { placeholder: "STATE", help: "running or stopped" }),
  "run-state": optional(parseWord, "as told last, or as follows from the transfer", {
    placeholder: "WORD",
    help: "Why they stand, in QEMU's words; gone where the VMM has ended",
  }),
  "transfer-status": optional(parseWord, "as told last", {
    placeholder: "WORD",
    help: "What its transfer has come to, in QEMU's words",
  }),
  "observed-at": optional(parseWhole(1, Number.MAX_SAFE_INTEGER), "now", {
    placeholder: "US",
    help: "When it was so, in microseconds since 1970",
  }),
  "start-refusal": optional(parseSentence, "none", {
    placeholder: "SENTENCE",
    help: "Why CPUs that were to be started were not",
  }),
  ...TARGET_SETTINGS,
};

export type TargetValues = Values<typeof TARGET_SETTINGS>;
export type StartCpusValues = Values<typeof START_CPUS_SETTINGS>;
export type ReportValues = Values<typeof REPORT_SETTINGS>;

const LINE = "--agent unix:/run/switchover-agent.sock --guest web-7";

export const REPORT_USAGE: UsageText = {
  synopsis: "switchoverctl report-cpu-state --agent TARGET --guest ID --cpus STATE [flags]",
  purpose:
    "Tells an agent how a VMM stands that it does not drive, and returns once it has done what follows: CPUs that stopped\n" +
    "are deregistered by then. Prints what the VMM is to do next, one demand a line: start-cpus, stop-cpus, begin-transfer,\n" +
    "switch-to-post-copy, cancel-transfer, pause-transfer, recover-transfer, end-vmm. Exits with 0, 1 when the report is\n" +
    "refused, 2 for a wrong command line, 3 when the agent does not answer: then it is to be told again.",
  environment: ["agent"],
  examples: [
    `switchoverctl report-cpu-state ${LINE} --cpus stopped --run-state paused`,
    `switchoverctl report-cpu-state ${LINE} --cpus stopped --run-state finish-migrate --transfer-status completed`,
    `switchoverctl report-cpu-state ${LINE} --cpus running`,
  ],
};

export const START_CPUS_USAGE: UsageText = {
  synopsis: "switchoverctl start-cpus --agent TARGET --guest ID [flags]",
  purpose:
    "Returns once the guest is registered and its CPUs may be started; where its VMM is driven by QMP, once they run. At a\n" +
    "destination it waits up to 30 s for the guest and the source's word. Prints what the VMM is to do next, as\n" +
    "report-cpu-state does. Exits with 0, 1 when it is refused, 2 for a wrong command line, 3 when the agent does not\n" +
    "answer or still waits: then it may be asked again.",
  environment: ["agent"],
  examples: [
    `switchoverctl start-cpus ${LINE}`,
    `switchoverctl start-cpus ${LINE} --instance web-7-b --json`,
    `switchoverctl start-cpus ${LINE} --runs-nowhere-else`,
  ],
};

function parseCpus(text: string, field: string): CpuState {
  if (text === "running") return CpuState.RUNNING;
  if (text === "stopped") return CpuState.STOPPED;
  throw invalidArgument(field, `${field}: "${text}" is neither running nor stopped.`);
}

/** The agent knows which there are. */
function parseWord(text: string, field: string): string {
  if (/^[a-z][a-z0-9-]*$/.test(text)) return text;
  throw invalidArgument(field, `${field}: "${text}" is no word of QEMU's.`);
}

function parseSentence(text: string, field: string): string {
  if (text.trim() !== "") return text;
  throw invalidArgument(field, `${field}: a reason is required.`, "REQUIRED");
}
