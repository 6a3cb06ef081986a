import { constants, setPriority } from "node:os";
import koffi from "koffi";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";

export const CPU_PRIORITIES = ["high", "realtime", "normal"] as const;
export type CpuPriority = (typeof CPU_PRIORITIES)[number];

const SCHED_RR = 2;
/** Ahead of all that is not real-time, behind all that is. */
const LOWEST_REALTIME = 1;

/**
 * Puts the agent's event loop, and threads that it starts later, ahead of the guests that it shares the CPUs with: on a
 * loaded host a STOP would otherwise wait milliseconds for its turn. `high` is nice -20, which counts among processes of
 * one control group or session alone; `realtime` (SCHED_RR 1) counts on the whole host. Needs CAP_SYS_NICE; where the
 * system refuses, says so once and goes on.
 */
export function applyCpuPriority(priority: CpuPriority, log: Log): void {
  if (priority === "normal") return;
  try {
    if (priority === "high") setPriority(constants.priority.PRIORITY_HIGHEST);
    else setRealtime();
  } catch (thrown) {
    log.warn(
      { err: thrown },
      "The agent's CPU priority cannot be raised; switchovers on a loaded host take longer.",
    );
  }
}

/** Of the calling thread. */
function setRealtime(): void {
  const setScheduler = koffi
    .load("libc.so.6")
    .func("int sched_setscheduler(int pid, int policy, const int32_t *priority)");
  if (setScheduler(0, SCHED_RR, new Int32Array([LOWEST_REALTIME])) === 0) return;
  throw new SwitchoverError("UNAVAILABLE", `sched_setscheduler failed with errno ${koffi.errno()}.`, {
    reason: "SCHEDULER_REFUSED",
  });
}
