import { SwitchoverError } from "../../proto/error.ts";
import type { Memory } from "../guest/remember.ts";
import type { HostAgentPorts } from "../host-agent-ports.ts";
import type { LogFields } from "../log.ts";
import type { ProcessLife, VmmProcess } from "../vmm/vmm-process.ts";
import { openVmmLine, type VmmLine } from "./vmm-line.ts";

export interface VmmReach {
  readonly ports: Pick<HostAgentPorts, "openVmm" | "clock" | "log">;
  readonly qmpPath: string;
  /** The one to be reached, where that is known; another one on its path is not it. */
  readonly process: VmmProcess | undefined;
  readonly life: () => ProcessLife;
  readonly signal: AbortSignal;
  readonly fields: LogFields;
  /** Called before each attempt; what it throws is tried again. */
  readonly waited: (waitedMs: number) => void;
  /** Takes the VMM over; what it throws is tried again. */
  readonly takeUp: (line: VmmLine) => Promise<void>;
  /** Called once, when it lives, or may, and has not answered for a second. */
  readonly unheard: (sentence: string) => void;
}

export type Reached = "taken up" | "closed" | { readonly sentence: string };

/** Between attempts; doubled up to the limit. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1_000;
/** QEMU closes its monitor a while before its process ends. */
const UNHEARD_AFTER_MS = 1_000;

/**
 * Tries to connect to a VMM and to take it up until that is done, or the VMM is dead, or `signal` aborts. Dead is one
 * whose process is gone; where that cannot be seen, one on whose path nobody listens.
 */
export async function reachVmm(reach: VmmReach): Promise<Reached> {
  const { clock, log } = reach.ports;
  const beganAtUnixUs = clock.unixUs();
  let alarm: "due" | "raised" = "due";
  for (let attempt = 0; !reach.signal.aborted; attempt += 1) {
    const life = reach.life();
    if (life === "dead") return { sentence: `The VMM's process ${reach.process?.pid ?? ""} has ended.` };
    const waitedMs = (clock.unixUs() - beganAtUnixUs) / 1_000;
    try {
      reach.waited(waitedMs);
      await tryOnce(reach);
      if (alarm === "raised") log.info(reach.fields, "The VMM is heard again.");
      return "taken up";
    } catch (thrown) {
      const { message, reason } = SwitchoverError.from(thrown);
      if (reason === "QMP_UNREACHABLE" && life === "unknown") return { sentence: message };
      if (isPowerOfTwo(attempt + 1)) {
        log.warn({ ...reach.fields, reason }, `The VMM cannot be taken under the gate again yet: ${message}`);
      }
      if (alarm === "due" && waitedMs >= UNHEARD_AFTER_MS) {
        alarm = "raised";
        reach.unheard(`The VMM on ${reach.qmpPath} lives, or may, and does not answer: ${message}`);
      }
    }
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt, 7), LONGEST_PAUSE_MS);
    await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
  }
  return "closed";
}

async function tryOnce({ ports, process, qmpPath, takeUp }: VmmReach): Promise<void> {
  const line = await openVmmLine(ports.openVmm, qmpPath);
  try {
    const other = line.vmm.process;
    if (process !== undefined && other !== undefined && !isSame(process, other)) {
      throw new SwitchoverError(
        "UNAVAILABLE",
        `Process ${other.pid} listens on ${qmpPath}, not the VMM's ${process.pid}.`,
        { reason: "ANOTHER_VMM" },
      );
    }
    await takeUp(line);
  } catch (thrown) {
    line.vmm.close();
    throw thrown;
  }
}

/** What the journal knows of a VMM's process, against what this host holds. */
export function lifeOf(
  adopted: Memory["adopted"],
  { bootId, processLife }: Pick<HostAgentPorts, "bootId" | "processLife">,
): ProcessLife {
  if (adopted?.process === undefined) return "unknown";
  if (adopted.bootId !== bootId) return "dead";
  return processLife?.(adopted.process) ?? "unknown";
}

function isSame(left: VmmProcess, right: VmmProcess): boolean {
  return left.pid === right.pid && left.startTicks === right.startTicks;
}

function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}
