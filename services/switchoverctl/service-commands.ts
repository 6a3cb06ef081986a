import { text } from "node:stream/consumers";
import type { TlsValues } from "../tls/tls-settings.ts";
import { call } from "./call.ts";
import { CALL_SETTINGS, CALL_USAGE, DESCRIBE_SETTINGS, DESCRIBE_USAGE } from "./call-settings.ts";
import { type Command, command } from "./command-line.ts";
import { describe } from "./describe.ts";
import { withServer } from "./with-client.ts";

/** The commands to any server, as it describes itself. */
export const SERVICE_COMMANDS: readonly Command[] = [
  command(
    "call",
    { settings: CALL_SETTINGS, usage: CALL_USAGE, operands: ["METHOD", "[JSON]"] },
    async (values, [method = "", json = ""]) => {
      const request = json === "-" ? await text(process.stdin) : json;
      return withServer(
        values.target ?? values.coordinator,
        values as typeof values & TlsValues,
        (client, signal) => call(values, method, request, { client, screen: process.stdout, signal }),
      );
    },
  ),
  command(
    "describe",
    { settings: DESCRIBE_SETTINGS, usage: DESCRIBE_USAGE, operands: ["[NAME]"] },
    (values, [name = ""]) =>
      withServer(values.target ?? values.coordinator, values as typeof values & TlsValues, (client) =>
        describe(values, name, { client, screen: process.stdout }),
      ),
  ),
];
