import type { QmpMeter } from "../../agent/vmm/qmp-requests.ts";
import { meterWork } from "../metrics/meter-work.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Timing } from "../metrics/timing.ts";

/** No command of QEMU's: connecting, its greeting and the negotiation together. */
const CONNECT = "connect";

export interface MeteredQmp {
  readonly commands: QmpMeter;
  /** Times a connection, whatever comes of it. */
  connecting<T>(connect: () => Promise<T>): Promise<T>;
}

/** How long QEMUs take to answer, and what they do not: QMP_BUSY is a socket that another client has. */
export function meterQmp(metrics: Metrics): MeteredQmp {
  const took = metrics.timing({
    name: "switchover_agent_qmp_seconds",
    help: "QEMU's answer to a command, refusals too, from its sending; or connecting to it.",
    labels: ["command"],
  });
  const failed = metrics.tally({
    name: "switchover_agent_qmp_failures_total",
    help: "Commands that QEMU refused or did not answer, and connections that it did not take, by reason.",
    labels: ["command", "reason"],
  });
  const timings = new Map<string, Timing>();
  const timingOf = (command: string): Timing => {
    const known = timings.get(command) ?? took.at(command);
    timings.set(command, known);
    return known;
  };
  return {
    commands: {
      answered: (command, tookUs) => timingOf(command).record(tookUs / 1_000_000),
      failed: (command, reason) => failed.count(command, reason),
    },
    connecting: (connect) => meterWork(timingOf(CONNECT), connect, (reason) => failed.count(CONNECT, reason)),
  };
}
