#!/usr/bin/env node
import { runProgram } from "../program/run-program.ts";
import { startObserverServer } from "./server.ts";
import { checkObserverValues, OBSERVER_SETTINGS, OBSERVER_USAGE } from "./settings.ts";

await runProgram({
  name: "switchover-observer",
  settings: OBSERVER_SETTINGS,
  usage: OBSERVER_USAGE,
  check: checkObserverValues,
  hostOf: () => undefined,
  start: startObserverServer,
});
