import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./command.ts";

/** Namespaces of labs and of kernel tests are named after the process that made them. */
const NAMESPACE_NAME = /^(?:solab|swtest-)(\d+)/;
const DIRECTORY_NAME = /^switchover-lab-(\d+)-/;

/** Removes the namespaces of processes that no longer exist. */
export async function sweepDeadNamespaces(): Promise<void> {
  const namespaces = await readdir("/run/netns").catch(() => []);
  for (const name of namespaces.filter((entry) => isOfDeadProcess(NAMESPACE_NAME, entry))) {
    await runCommand("ip", ["netns", "delete", name]).catch(() => "");
  }
}

/** Removes the directories of labs whose process no longer exists, and ends what still runs on them. */
export async function sweepDeadDirectories(parent: string): Promise<void> {
  for (const name of (await readdir(parent)).filter((entry) => isOfDeadProcess(DIRECTORY_NAME, entry))) {
    const directory = join(parent, name);
    endProcessesOf(directory);
    unmountUnder(directory);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Unmounts what is mounted below a directory, which could not be removed otherwise. */
export function unmountUnder(directory: string): void {
  const mounted = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[1] ?? []);
  for (const path of mounted.filter((candidate) => candidate.startsWith(`${directory}/`))) {
    execFileSync("umount", ["-l", path], { stdio: "ignore", timeout: 5_000 });
  }
}

/**
 * Kills what runs on a directory and returns how many that was: a coordinator's nats-server outlives a coordinator
 * that was killed.
 */
export function endProcessesOf(directory: string): number {
  let ended = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (Number(pid) === process.pid || !readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(directory))
        continue;
      process.kill(Number(pid), "SIGKILL");
      ended += 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return ended;
}

function isOfDeadProcess(pattern: RegExp, name: string): boolean {
  const pid = pattern.exec(name)?.[1];
  if (pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "ESRCH";
  }
}
