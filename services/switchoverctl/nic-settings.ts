import { invalidArgument } from "../../proto/error.ts";
import { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import { parseTarget } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, optional, required } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";

const INSTANCE_SETTINGS = {
  agent: required(parseTarget, { placeholder: "TARGET", help: "The host's agent, HOST:PORT or unix:/PATH" }),
  guest: required(parseGuestId, { placeholder: "ID", help: "The guest" }),
  instance: optional(parseInstanceId, "the only one on that host", {
    placeholder: "ID",
    help: "The guest's instance on that host",
  }),
};

const JSON_SETTING = onOff("Print the agent's answer as proto3 JSON");

export const ATTACH_NIC_SETTINGS = {
  ...INSTANCE_SETTINGS,
  nic: required(parseNicText, {
    placeholder: "JSON",
    help: "The NIC, a switchover.v1.NicDefinition as proto3 JSON",
  }),
  "dry-run": onOff("Only check, and change nothing"),
  json: JSON_SETTING,
};

export const DETACH_NIC_SETTINGS = {
  ...INSTANCE_SETTINGS,
  nic: required((text) => text, { placeholder: "ID", help: "The NIC's id" }),
  json: JSON_SETTING,
};

export type AttachNicValues = Values<typeof ATTACH_NIC_SETTINGS>;
export type DetachNicValues = Values<typeof DETACH_NIC_SETTINGS>;

const EXITS =
  "Exits with 0, 1 when it is refused, 2 for a wrong command line, 3 when the agent does not answer.";

export const ATTACH_NIC_USAGE: UsageText = {
  synopsis: "switchoverctl attach-nic --agent TARGET --guest ID --nic JSON [flags]",
  purpose:
    "Gives a guest one NIC more: its device is made or taken, quarantined, and registered at once where the guest runs.\n" +
    `Where it stands or moves, the NIC starts with its CPUs. Call it before QEMU's device_add. ${EXITS}`,
  environment: ["agent"],
  examples: [
    `switchoverctl attach-nic --agent 10.0.0.1:7443 --guest web-7 --nic '{"nicId":"net1","macAddress":"52:54:00:12:34:57","tapOnBridge":{"deviceName":"web7-1","bridge":"br0"}}'`,
  ],
};

export const DETACH_NIC_USAGE: UsageText = {
  synopsis: "switchoverctl detach-nic --agent TARGET --guest ID --nic ID [flags]",
  purpose:
    "Takes a NIC from a guest: it is deregistered and forgotten, and its device goes where the agent made it. Call it\n" +
    `after QEMU's DEVICE_DELETED and netdev_del. ${EXITS}`,
  environment: ["agent"],
  examples: ["switchoverctl detach-nic --agent 10.0.0.1:7443 --guest web-7 --nic net1"],
};

function parseNicText(text: string, field: string): NicDefinition {
  try {
    return NicDefinition.fromJSON(JSON.parse(text));
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw invalidArgument(field, `${field} is no NicDefinition as proto3 JSON: ${why}`);
  }
}
