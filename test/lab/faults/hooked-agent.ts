import "../../../services/agent/compile-eagerly.ts";

import { openSync, readSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import type { BeforeOperation } from "../../../agent/guest/guest-operation.ts";
import { startAgentServer } from "../../../services/agent/server.ts";
import { AGENT_SETTINGS, AGENT_USAGE, checkAgentValues } from "../../../services/agent/settings.ts";
import { runProgram } from "../../../services/program/run-program.ts";
import { gateLineOf } from "./gate-line.ts";
import { RELEASE_FIFO } from "./line-hold.ts";

/**
 * The agent, with a place to stop it at: the real one until its stdin names a line of the gate. The first time that a
 * gate comes to that line the whole process stands still there, the operation not yet carried out, until a byte
 * arrives on the FIFO, or until it is killed.
 *
 *   stdin   hold LINE        stdout  holding LINE, then held LINE
 */
const STDOUT = 1;

function openHold(fifo: string): BeforeOperation {
  // Open for writing too, so that the FIFO never ends and opening it waits for nobody.
  const release = openSync(fifo, "r+");
  let held: string | undefined;
  createInterface({ input: process.stdin }).on("line", (command) => {
    held = /^hold (.+)$/.exec(command)?.[1];
    if (held !== undefined) writeSync(STDOUT, `holding ${held}\n`);
  });
  return (_guest, operation) => {
    if (held === undefined || gateLineOf(operation) !== held) return;
    writeSync(STDOUT, `held ${held}\n`);
    held = undefined;
    readSync(release, Buffer.alloc(1));
  };
}

const fifo = process.env[RELEASE_FIFO];
const beforeOperation = fifo === undefined ? undefined : openHold(fifo);

await runProgram({
  name: "switchover-agent",
  settings: AGENT_SETTINGS,
  usage: AGENT_USAGE,
  check: checkAgentValues,
  hostOf: (values) => values["host-id"],
  start: (values, log) =>
    startAgentServer(values, log, beforeOperation === undefined ? {} : { beforeOperation }),
});
