import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CleanupRegistry } from "./cleanup.ts";
import { endProcessesOf, sweepDeadDirectories, sweepDeadNamespaces } from "./sweep.ts";
import { createTopology, type Topology } from "./topology.ts";

/**
 * A lab: a network of hosts and peers in namespaces of their own, a directory for sockets, disks and logs, and
 * the promise that all of it is gone afterwards.
 *
 * `close()` removes what the lab made, newest first. SIGINT and SIGTERM do the same and then end the process
 * as they would have; any other end of the process (an uncaught exception, `process.exit`) meets a synchronous
 * last resort; and children carry PR_SET_PDEATHSIG, so that even SIGKILL leaves no QEMU. The empty namespaces
 * and the directory of a lab that was killed that way are swept by the next `openLab`.
 */
export interface LabOptions {
  /** Default: `ha` and `hb`. */
  readonly hosts?: readonly string[];
}

export interface Lab {
  /** Namespaces are `<prefix>-<name>`; unique among the labs of this machine. */
  readonly prefix: string;
  readonly directory: string;
  readonly topology: Topology;
  /** For whatever a test adds to the lab: removed before the lab's own things. */
  readonly cleanups: CleanupRegistry;
  /** Idempotent. Throws an AggregateError naming what could not be removed. */
  close(): Promise<void>;
}

const openLabs = new Set<{ readonly registry: CleanupRegistry; close(): Promise<void> }>();
let labCount = 0;
let ending: NodeJS.Signals | undefined;

export async function openLab(options: LabOptions = {}): Promise<Lab> {
  await sweepDeadNamespaces();
  await sweepDeadDirectories(tmpdir());
  const registry = new CleanupRegistry();
  let closing: Promise<void> | undefined;
  const entry = {
    registry,
    close: () => {
      closing ??= registry.runAll().finally(() => {
        openLabs.delete(entry);
        if (openLabs.size === 0) stopGuarding();
      });
      return closing;
    },
  };
  if (openLabs.size === 0) startGuarding();
  openLabs.add(entry);
  try {
    const prefix = `solab${process.pid}x${labCount++}`;
    const directory = await mkdtemp(join(tmpdir(), `switchover-lab-${process.pid}-`));
    registry.add({
      label: directory,
      run: async () => {
        endProcessesOf(directory);
        await rm(directory, { recursive: true, force: true });
      },
      runNow: () => {
        endProcessesOf(directory);
        rmSync(directory, { recursive: true, force: true });
      },
    });
    const topology = await createTopology({ prefix, hosts: options.hosts ?? ["ha", "hb"] }, registry);
    return { prefix, directory, topology, cleanups: registry, close: entry.close };
  } catch (cause) {
    await entry.close();
    throw cause;
  }
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function startGuarding(): void {
  for (const signal of SIGNALS) process.on(signal, closeAndEnd);
  process.on("exit", closeNow);
}

function stopGuarding(): void {
  for (const signal of SIGNALS) process.removeListener(signal, closeAndEnd);
  process.removeListener("exit", closeNow);
}

/** A second signal, of an impatient hand, finds the labs closing already and changes nothing. */
function closeAndEnd(signal: NodeJS.Signals): void {
  if (ending !== undefined) return;
  ending = signal;
  void Promise.allSettled([...openLabs].map((lab) => lab.close())).then(() => {
    stopGuarding();
    process.kill(process.pid, signal);
  });
}

function closeNow(): void {
  for (const { registry } of openLabs) registry.runAllNow();
}
