#!/usr/bin/env node
import "./compile-eagerly.ts";

import { runProgram } from "../program/run-program.ts";
import { startAgentServer } from "./server.ts";
import { AGENT_SETTINGS, AGENT_USAGE, checkAgentValues } from "./settings.ts";

await runProgram({
  name: "switchover-agent",
  settings: AGENT_SETTINGS,
  usage: AGENT_USAGE,
  check: checkAgentValues,
  hostOf: (values) => values["host-id"],
  start: (values, log) => startAgentServer(values, log),
});
