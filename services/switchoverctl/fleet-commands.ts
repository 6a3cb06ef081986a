import { type Command, coordinatorCommand } from "./command-line.ts";
import { cancelDrain, drain, showDrain, watchDrain } from "./drain.ts";
import {
  CANCEL_DRAIN_SETTINGS,
  CANCEL_DRAIN_USAGE,
  checkDrainValues,
  DRAIN_SETTINGS,
  DRAIN_USAGE,
  SHOW_DRAIN_SETTINGS,
  SHOW_DRAIN_USAGE,
  WATCH_DRAIN_USAGE,
} from "./drain-settings.ts";
import { host, hosts } from "./hosts.ts";
import { HOST_SETTINGS, HOST_USAGE, HOSTS_SETTINGS, HOSTS_USAGE } from "./hosts-settings.ts";

/** The commands about hosts, and all that lives on one. */
export const FLEET_COMMANDS: readonly Command[] = [
  coordinatorCommand(
    "hosts",
    { settings: HOSTS_SETTINGS, usage: HOSTS_USAGE, operands: [] },
    (_values, _operand, ports) => hosts(ports),
  ),
  coordinatorCommand(
    "host",
    { settings: HOST_SETTINGS, usage: HOST_USAGE, operands: ["HOST_ID"] },
    (_values, hostId, ports) => host(hostId, ports),
  ),
  coordinatorCommand(
    "drain",
    { settings: DRAIN_SETTINGS, usage: DRAIN_USAGE, operands: [], check: checkDrainValues },
    (values, _operand, ports) => drain(values, ports),
  ),
  coordinatorCommand(
    "show-drain",
    { settings: SHOW_DRAIN_SETTINGS, usage: SHOW_DRAIN_USAGE, operands: ["DRAIN_ID"] },
    (_values, drainId, ports) => showDrain(drainId, ports),
  ),
  coordinatorCommand(
    "watch-drain",
    { settings: SHOW_DRAIN_SETTINGS, usage: WATCH_DRAIN_USAGE, operands: ["DRAIN_ID"] },
    (_values, drainId, ports) => watchDrain(drainId, ports),
  ),
  coordinatorCommand(
    "cancel-drain",
    { settings: CANCEL_DRAIN_SETTINGS, usage: CANCEL_DRAIN_USAGE, operands: ["DRAIN_ID"] },
    cancelDrain,
  ),
];
