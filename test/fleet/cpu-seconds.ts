import { readFileSync } from "node:fs";

/** Of the kernel's clock ticks, which /proc counts CPU time in. */
const TICKS_A_SECOND = 100;

/** User and system seconds that a process has used since it started. */
export function cpuSecondsOf(pid: number | undefined): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}
