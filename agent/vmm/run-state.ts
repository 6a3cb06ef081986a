/** QEMU's RunState, every name that QEMU 7.2 to 10.2 has. */
const RUN_STATES = [
  "colo",
  "debug",
  "finish-migrate",
  "guest-panicked",
  "inmigrate",
  "internal-error",
  "io-error",
  "paused",
  "postmigrate",
  "prelaunch",
  "restore-vm",
  "running",
  "save-vm",
  "shutdown",
  "suspended",
  "watchdog",
] as const;

/** Why the CPUs stand as they do (`query-status`); `unknown` is a word of a QEMU newer than this list. */
export type RunState = (typeof RUN_STATES)[number] | "unknown";

const NAMES: ReadonlySet<string> = new Set(RUN_STATES);

/** Never fails: a word that is not known reads as `unknown`. */
export function parseRunState(text: string): RunState {
  return NAMES.has(text) ? (text as RunState) : "unknown";
}
