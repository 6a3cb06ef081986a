import { readFileSync } from "node:fs";
import type { LabHost } from "../topology.ts";
import type { TrackedProcess } from "../tracked-process.ts";

const TIMESTAMP = /^Timestamp: (.+ \d{4}) (\d+) usec$/;
/** Two CPUs are seldom held up at once. */
const MAX_CPUS = 2;

/** What `<program> <options> -timestamp monitor <object>` is started with. */
export interface MonitorCommand {
  readonly program: "ip" | "bridge";
  readonly object: "fdb" | "link" | "route";
  readonly options?: readonly string[];
}

/** Starts the monitor on one CPU alone and tells each of its lines with the stamp that it gave it. */
export function startMonitorProgram(
  host: LabHost,
  { program, object, options }: MonitorCommand,
  cpu: number,
  onLine: (line: string, atUnixUs: number) => void,
): TrackedProcess {
  const args = [...(options ?? []), "-timestamp", "monitor", object];
  const env = { TZ: "UTC", LC_ALL: "C" };
  const started = host.namespace.spawn(program, args, { scheduling: "realtime", cpu, env });
  let atUnixUs = 0;
  started.onLine((untrimmed) => {
    const line = untrimmed.trim();
    const stamp = TIMESTAMP.exec(line);
    if (stamp?.[1] === undefined) onLine(line, atUnixUs);
    else atUnixUs = Date.parse(`${stamp[1]} UTC`) * 1000 + Number(stamp[2]);
  });
  return started;
}

/** The CPUs that monitors run on, one each: the first two that this process may use, or the only one. */
export function monitorCpus(): readonly number[] {
  return readCpuList(readFileSync("/proc/self/status", "utf8")).slice(0, MAX_CPUS);
}

/** `Cpus_allowed_list` of /proc/PID/status, such as `0-2,5`; CPU 0 where it is not told. */
export function readCpuList(status: string): readonly number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
