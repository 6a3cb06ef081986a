import type { QmpMeter } from "../../agent/vmm/qmp-requests.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { meterOperations } from "../metrics/operations.ts";

/** No command of QEMU's: connecting, its greeting and the negotiation together. */
const CONNECT = "connect";

export interface MeteredQmp {
  readonly commands: QmpMeter;
  /** Times a connection, whatever comes of it. */
  connecting<T>(connect: () => Promise<T>): Promise<T>;
}

/** How long QEMUs take to answer, and what they do not: QMP_BUSY is a socket that another client has. */
export function meterQmp(metrics: Metrics): MeteredQmp {
  const { of, failed } = meterOperations(metrics, {
    label: "command",
    took: {
      name: "switchover_agent_qmp_seconds",
      help: "QEMU's answer to a command, refusals too, from its sending; or connecting to it.",
    },
    failed: {
      name: "switchover_agent_qmp_failures_total",
      help: "Commands that QEMU refused or did not answer, and connections that it did not take, by reason.",
    },
  });
  return {
    commands: {
      answered: (command, tookUs) => of(command).timing.record(tookUs / 1_000_000),
      failed,
    },
    connecting: (connect) => of(CONNECT).time(connect),
  };
}
