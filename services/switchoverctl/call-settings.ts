import { parseTarget, parseWhole } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, optional, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS } from "./settings.ts";

/** Flags of the commands that ask a server what it serves. */
const SERVER_SETTINGS = {
  target: optional(parseTarget, "default the coordinator", {
    placeholder: "TARGET",
    help: "The server, a coordinator or an agent: HOST:PORT or unix:/PATH",
  }),
  coordinator: COMMON_SETTINGS.coordinator,
  "timeout-ms": withDefault(parseWhole(1, 600_000), "10000", {
    placeholder: "MS",
    help: "How long the server may take to describe itself, and to answer; of a stream, to take the call",
  }),
};

export const CALL_SETTINGS = {
  ...SERVER_SETTINGS,
  json: onOff("Print the answer in one line; answers of a stream always are"),
};

export const DESCRIBE_SETTINGS = {
  ...SERVER_SETTINGS,
  json: onOff("Print JSON: a line for each service, method, message or enum"),
};

export type CallValues = Values<typeof CALL_SETTINGS>;
export type DescribeValues = Values<typeof DESCRIBE_SETTINGS>;

const NAMES =
  "Names are full ones, or as much of their end as no other one has: switchover.v1.MigrationService/GetMigration,\n" +
  "MigrationService/GetMigration, GetMigration. What there is the server says by gRPC server reflection.";
const EXITS =
  "1 when the call is refused, 2 for a wrong command line or request, 3 when the server does not answer.";

export const CALL_USAGE: UsageText = {
  synopsis: "switchoverctl call SERVICE/METHOD [JSON | -] [flags]",
  purpose:
    "Calls a method of a coordinator or an agent with a request in proto3 JSON, fields by their names in the .proto files or\n" +
    "in JSON; -: from stdin; none: without fields. A field that the request does not have is refused. Prints the answer as\n" +
    "proto3 JSON; of a stream one line each, until it ends or Ctrl-C.\n" +
    `${NAMES}\nExits with 0, ${EXITS}`,
  environment: COMMON_ENVIRONMENT,
  examples: [
    `switchoverctl call MigrationService/GetMigration '{"migrationId": "web-7-mk3v0q8ya1z9"}'`,
    `switchoverctl call WatchMigration '{"migration_id": "web-7-mk3v0q8ya1z9"}'`,
    `switchoverctl call GetGuest '{"guest_id": "web-7"}' --target unix:/run/switchover-agent.sock`,
    "switchoverctl call PrepareNics - --target 10.0.0.2:7443 < nics.json",
  ],
};

export const DESCRIBE_USAGE: UsageText = {
  synopsis: "switchoverctl describe [SERVICE | METHOD | MESSAGE | ENUM] [flags]",
  purpose:
    "Shows what a server serves: its services with their methods; a method with its request and response; a message or an\n" +
    `enum.\n${NAMES}\nExits with 0, ${EXITS}`,
  environment: COMMON_ENVIRONMENT,
  examples: [
    "switchoverctl describe",
    "switchoverctl describe StartMigration",
    "switchoverctl describe MigrationSpec --json",
    "switchoverctl describe HostAgentService --target 10.0.0.2:7443",
  ],
};
