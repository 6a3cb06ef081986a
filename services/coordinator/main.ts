#!/usr/bin/env node
import { runProgram } from "../program/run-program.ts";
import { startCoordinatorServer } from "./server.ts";
import { COORDINATOR_SETTINGS, COORDINATOR_USAGE, checkCoordinatorValues } from "./settings.ts";

await runProgram({
  name: "switchover-coordinator",
  settings: COORDINATOR_SETTINGS,
  usage: COORDINATOR_USAGE,
  check: checkCoordinatorValues,
  hostOf: (values) => values["coordinator-id"],
  start: startCoordinatorServer,
});
