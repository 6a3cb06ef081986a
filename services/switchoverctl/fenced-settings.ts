import { parseInstanceId } from "../../proto/ids.ts";
import { parseTarget, parseWhole } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, required } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";

/** Flags and help of the commands that take a coordinator's place at one agent. Nothing of a fence is guessed. */
export const FENCED_SETTINGS = {
  agent: required(parseTarget, { placeholder: "TARGET", help: "The host's agent, HOST:PORT or unix:/PATH" }),
  instance: required(parseInstanceId, { placeholder: "ID", help: "The guest's instance on that host" }),
  epoch: required(parseWhole(1, Number.MAX_SAFE_INTEGER), {
    placeholder: "N",
    help: "The migration's epoch, as that agent has it",
  }),
  revision: required(parseWhole(0, Number.MAX_SAFE_INTEGER), {
    placeholder: "N",
    help: "The newest revision of that epoch, as that agent has it",
  }),
  yes: onOff("State without being asked that no coordinator is left; required where stdin is no terminal"),
  json: onOff("Print the agent's answer as proto3 JSON"),
};

export type FencedValues = Values<typeof FENCED_SETTINGS>;

const WARNING =
  "A coordinator does this by itself, in the right order and as often as is needed. This is for when none is left, nor\n" +
  "can be started: while one drives the migration, use cancel or resolve. HostAgentService.GetGuest of that agent shows\n" +
  "instance, epoch and revision. Older ones are refused; never give newer ones, for they shut out a coordinator that\n" +
  "comes back.";

function usageOf(command: string, purpose: string, exits: string): UsageText {
  const line = `switchoverctl ${command} web-7-mk3v0q8ya1z9 --agent 10.0.0.1:7443`;
  return {
    synopsis: `switchoverctl ${command} MIGRATION_ID --agent TARGET --instance ID --epoch N --revision N [flags]`,
    purpose:
      `${purpose}\n\n${WARNING}\n\nExits with ${exits}, 2 for a wrong command line,\n` +
      "3 when the agent does not answer or cannot say yet: then nothing is known, and it may be asked again.",
    environment: ["agent"],
    examples: [
      `${line} --instance web-7-a --epoch 4 --revision 17`,
      `${line} --instance web-7-a --epoch 4 --revision 17 --yes --json`,
    ],
  };
}

export const CANCEL_TRANSFER_USAGE = usageOf(
  "cancel-transfer",
  "Asks the source's agent to keep the guest. It answers by its journal: the guest is kept, or it is too late, for it has\n" +
    "handed the guest off.",
  "0 when the guest is kept, 1 when it is too late or refused",
);

export const ABORT_DESTINATION_USAGE = usageOf(
  "abort-destination",
  "Has the destination's agent journal that it never starts the guest under this epoch, end its VMM and let its devices\n" +
    "go. Only once cancel-transfer says that the source keeps the guest: after a hand-off the destination may be all that\n" +
    "there is of it.",
  "0 when it is so, 1 when it is refused, as where its CPUs were started",
);

export const HAND_BACK_USAGE = usageOf(
  "hand-back",
  "Asks the destination's agent for its journaled word that it never started the guest, and never will under this epoch;\n" +
    "or for the answer that it is too late. In live mode its VMM ends. The guest then runs nowhere until a coordinator has\n" +
    "the source take it back.",
  "0 when it is handed back, 1 when it is too late or refused",
);
