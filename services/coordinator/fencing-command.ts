import { type ChildProcess, spawn } from "node:child_process";
import type { FencingPort } from "../../coordinator/runner/fencing-port.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { HostId, MigrationId } from "../../proto/ids.ts";
import type { Log } from "../log/log.ts";

export interface FencingCommandOptions {
  /** Run without a shell, with the host's id as its only argument; undefined: this coordinator fences nobody. */
  readonly path: string | undefined;
  /** How long a run may take before it is killed with all that it started. */
  readonly timeoutMs: number;
  /** What it finds in its environment, besides SWITCHOVER_HOST_ID and SWITCHOVER_MIGRATION_ID. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
}

/** What is kept of each of the command's two outputs. */
const OUTPUT_LIMIT_BYTES = 4_096;

/**
 * FencingPort by a program of the operator's: exit code 0 is its word that the host is dead. It runs once at a time for
 * a host, whichever migrations ask.
 */
export class FencingCommand implements FencingPort {
  readonly #options: FencingCommandOptions;
  readonly #running = new Map<HostId, { readonly ended: Promise<void>; readonly kill: () => void }>();

  constructor(options: FencingCommandOptions) {
    this.#options = options;
  }

  /** FAILED_PRECONDITION / FENCE_COMMAND_FAILED where it does not start, ends otherwise than with 0, or takes too long. */
  fence(hostId: HostId, migrationId: MigrationId): Promise<void> {
    const { path } = this.#options;
    if (path === undefined) {
      return Promise.reject(
        new SwitchoverError("UNIMPLEMENTED", "This coordinator has no fencing command.", {
          reason: "NO_FENCE_COMMAND",
        }),
      );
    }
    const present = this.#running.get(hostId);
    if (present !== undefined) return present.ended;
    const child = this.#spawn(path, hostId, migrationId);
    const ended = this.#end(child, hostId, migrationId).finally(() => this.#running.delete(hostId));
    this.#running.set(hostId, { ended, kill: () => killGroup(child) });
    return ended;
  }

  /** Kills what runs. */
  close(): void {
    for (const { kill } of this.#running.values()) kill();
  }

  #spawn(path: string, hostId: HostId, migrationId: MigrationId): ChildProcess {
    const fields = { host_id: hostId, migration_id: migrationId, fence_command: path };
    this.#options.log.warn(fields, `The fencing command runs for host ${hostId}.`);
    const environment = { SWITCHOVER_HOST_ID: hostId, SWITCHOVER_MIGRATION_ID: migrationId };
    return spawn(path, [hostId], {
      env: { ...this.#options.environment, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that a run that takes too long is killed with all that it started.
      detached: true,
    });
  }

  #end(child: ChildProcess, hostId: HostId, migrationId: MigrationId): Promise<void> {
    const { timeoutMs, log } = this.#options;
    const output = readOutput(child);
    return new Promise((resolve, reject) => {
      let overdue: "overdue" | "in time" = "in time";
      const timer = setTimeout(() => {
        overdue = "overdue";
        killGroup(child);
      }, timeoutMs);
      const end = (how: string | null) => {
        clearTimeout(timer);
        const fields = { host_id: hostId, migration_id: migrationId, ...output() };
        if (how === null) {
          log.warn(fields, `The fencing command says that host ${hostId} is dead.`);
          resolve();
          return;
        }
        log.error(fields, `The fencing command ${how}.`);
        const sentence = `The fencing command ${how}, so that nothing is known about host ${hostId}.`;
        reject(
          new SwitchoverError("FAILED_PRECONDITION", sentence, {
            reason: "FENCE_COMMAND_FAILED",
            metadata: { host_id: hostId },
          }),
        );
      };
      child.once("error", (error) => end(`did not start: ${error.message}`));
      child.once("exit", (code, signal) => {
        if (overdue === "overdue") end(`did not end within ${timeoutMs} ms`);
        else if (code === 0) end(null);
        else end(code === null ? `was ended by ${signal}` : `ended with ${code}`);
      });
    });
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (thrown) {
    // It has ended by itself.
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

/** The first bytes of both outputs; what comes after them is read and thrown away, so that nobody waits in a pipe. */
function readOutput(child: ChildProcess): () => { readonly stdout: string; readonly stderr: string } {
  const read = (stream: ChildProcess["stdout"]) => {
    let kept = Buffer.alloc(0);
    stream?.on("data", (bytes: Buffer) => {
      kept = Buffer.concat([kept, bytes.subarray(0, OUTPUT_LIMIT_BYTES - kept.length)]);
    });
    return () => kept.toString("utf8").trimEnd();
  };
  const [stdout, stderr] = [read(child.stdout), read(child.stderr)];
  return () => ({ stdout: stdout(), stderr: stderr() });
}
