import { constants, setPriority } from "node:os";
import type { Log } from "../log/log.ts";

export type CpuPriority = "high" | "normal";

/**
 * Puts the agent's event loop ahead of the guests that it shares the CPUs with (nice -20): on a loaded host a STOP would
 * otherwise wait milliseconds for its turn. Needs CAP_SYS_NICE; without it says so once and goes on.
 */
export function applyCpuPriority(priority: CpuPriority, log: Log): void {
  if (priority === "normal") return;
  try {
    setPriority(constants.priority.PRIORITY_HIGHEST);
  } catch (thrown) {
    log.warn(
      { err: thrown },
      "The agent's CPU priority cannot be raised; switchovers on a loaded host take longer.",
    );
  }
}
