import { readdirSync, readFileSync } from "node:fs";

/**
 * Stops the process with SIGSTOP, and returns once each of its threads stands: a thread on another processor runs on for
 * a while after kill(2) has returned. Throws where one does not stand within a second. SIGCONT ends it.
 */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const deadline = performance.now() + 1_000;
  while (!readdirSync(`/proc/${pid}/task`).every((thread) => stands(pid, thread))) {
    if (performance.now() > deadline) throw new Error(`Process ${pid} does not stop.`);
  }
}

function stands(pid: number, thread: string): boolean {
  return /\) T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1"));
}
