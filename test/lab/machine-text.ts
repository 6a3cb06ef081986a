import { cpus, release, totalmem } from "node:os";

/** This machine, for a page of what was measured on it. */
export function machineText(): string {
  const [cpu] = cpus();
  return `${cpus().length} x ${cpu?.model.trim() ?? "unknown CPU"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
}
