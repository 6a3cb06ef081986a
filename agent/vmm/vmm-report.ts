import { isUnderWay } from "./migration-status.ts";

/** How a VMM stands that this agent does not drive, as its owner told last. */
export interface VmmReport {
  readonly cpus: "running" | "stopped";
  /** QEMU's word for it, or "gone": the VMM has ended. */
  readonly runState: string;
  /** QEMU's word for its transfer; "none" where nothing was told of the one that is to begin, or of any. */
  readonly transferStatus: string;
  /** On this host's clock; 0 where its owner did not say. */
  readonly observedAtUnixUs: number;
  /** Where it was told to send its guest, once it was. */
  readonly transferUri?: string;
}

/** What an owner tells; an empty text says nothing. */
export interface VmmTold extends VmmReport {
  /** Why CPUs that were to be started were not, and will not be by that order. */
  readonly startRefusal: string;
}

export const GONE = "gone";

/** Whether both say the same of the VMM, whenever it was so. */
export function isSame(one: VmmReport, other: VmmReport): boolean {
  return (
    one.cpus === other.cpus && one.runState === other.runState && one.transferStatus === other.transferStatus
  );
}

/** Whether it was overtaken on its way. A last report from the future, as after a clock's step back, overtakes nothing. */
export function isOvertaken(told: VmmReport, last: VmmReport, nowUnixUs: number): boolean {
  const [at, lastAt] = [told.observedAtUnixUs, last.observedAtUnixUs];
  return at > 0 && at < lastAt && lastAt <= nowUnixUs;
}

const ENDED: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

/** A transfer's last word. */
export function isEnded(status: string): boolean {
  return ENDED.has(status);
}

/** What was told with what was left unsaid. `begun`: the VMM was to begin a transfer and has told no end of it. */
export function completeReport(before: VmmReport, told: VmmReport, transfer: "none" | "begun"): VmmReport {
  return {
    cpus: told.cpus,
    runState: runStateOf(before, told, transfer),
    transferStatus: told.transferStatus === "" ? before.transferStatus : told.transferStatus,
    // What tells no time is no older than what was known: an older report that is overtaken stays so.
    observedAtUnixUs: told.observedAtUnixUs === 0 ? before.observedAtUnixUs : told.observedAtUnixUs,
    ...(before.transferUri === undefined ? {} : { transferUri: before.transferUri }),
  };
}

function runStateOf(before: VmmReport, told: VmmReport, transfer: "none" | "begun"): string {
  if (told.cpus === "running") return "running";
  const runState = told.runState === "" ? assumedRunState(before, told, transfer) : told.runState;
  // A completed transfer has left it: whoever waits for QEMU to do so would wait in vain.
  return runState === "finish-migrate" && told.transferStatus === "completed" ? "postmigrate" : runState;
}

/** A stop that nobody explains is the switchover's while a transfer is under way, and an owner's at any other time. */
function assumedRunState(before: VmmReport, told: VmmReport, transfer: "none" | "begun"): string {
  if (before.runState === "inmigrate") return told.transferStatus === "completed" ? "paused" : "inmigrate";
  const wasSwitching = before.runState === "finish-migrate";
  if (before.cpus === "stopped" && !wasSwitching) return before.runState;
  const status = told.transferStatus === "" ? before.transferStatus : told.transferStatus;
  if (!wasSwitching && transfer === "none" && !isUnderWay(status)) return "paused";
  return isEnded(told.transferStatus) ? "postmigrate" : "finish-migrate";
}
