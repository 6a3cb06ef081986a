import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { SwitchoverError } from "../../proto/error.ts";
import type { CleanupRegistry } from "./cleanup.ts";
import { type CommandOptions, runCommand } from "./command.ts";
import { type SpawnOptions, TrackedProcess } from "./tracked-process.ts";

const CLONE_NEWNET = 0x40000000;
const setns = koffi.load("libc.so.6").func("int setns(int fd, int nstype)");

/**
 * One named network namespace and the processes that the lab started in it.
 *
 * Commands enter with `nsenter --net`, which changes nothing but the network: `ip netns exec` would add a
 * mount namespace, and with it a second view of /sys and of every unix socket made later.
 */
export class NetworkNamespace {
  readonly name: string;
  readonly #processes = new Set<TrackedProcess>();
  #deleted: Promise<void> | undefined;

  private constructor(name: string) {
    this.name = name;
  }

  /** Creates the namespace with its loopback up and registers its removal. Throws when the name is taken. */
  static async create(name: string, cleanups: CleanupRegistry): Promise<NetworkNamespace> {
    await runCommand("ip", ["netns", "add", name]);
    const namespace = new NetworkNamespace(name);
    cleanups.add({
      label: `network namespace ${name}`,
      run: () => namespace.delete(),
      runNow: () => namespace.#deleteNow(),
    });
    await namespace.run("ip", ["link", "set", "lo", "up"]);
    return namespace;
  }

  /** The bind mount that holds the namespace (`/run/netns/<name>`), which setns(2) and nsenter(1) take. */
  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /** Runs a short command in the namespace and returns its stdout; see `runCommand` for its failures. */
  run(file: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
    return runCommand("nsenter", [`--net=${this.path}`, file, ...args], options);
  }

  /** Runs `lines` as one `ip -batch`: all of them, or a COMMAND_FAILED that names the first wrong line. */
  async ip(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.run("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n` });
  }

  /** Runs `lines` as one `bridge -batch`. */
  async bridge(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.run("bridge", ["-batch", "-"], { input: `${lines.join("\n")}\n` });
  }

  /** Starts a long-lived child in the namespace; it is killed and awaited when the namespace is deleted. */
  spawn(file: string, args: readonly string[], options: SpawnOptions = {}): TrackedProcess {
    const child = TrackedProcess.start(["nsenter", `--net=${this.path}`], file, args, options);
    this.#processes.add(child);
    void child.exited.then(() => this.#processes.delete(child));
    return child;
  }

  /** Ends the namespace's processes, waits for them, and removes the namespace with its links. Idempotent. */
  delete(): Promise<void> {
    this.#deleted ??= this.#delete();
    return this.#deleted;
  }

  async #delete(): Promise<void> {
    await Promise.all([...this.#processes].map((child) => child.kill()));
    await runCommand("ip", ["netns", "delete", this.name]);
  }

  #deleteNow(): void {
    for (const child of this.#processes) child.signal("SIGKILL");
    execFileSync("ip", ["netns", "delete", this.name], { stdio: "ignore", timeout: 5000 });
  }
}

/**
 * Moves this process's main thread into a network namespace (setns, CLONE_NEWNET), so that sockets that it
 * opens from here on live there, and so do children that it starts. Returns how to go back. Sockets that are
 * already open stay where they were made. Host names must be addresses: name lookups run on other threads,
 * which do not move.
 */
export function joinNetworkNamespace(namespace: NetworkNamespace): () => void {
  const homeFd = openSync("/proc/thread-self/ns/net", "r");
  try {
    enter(namespace.path);
  } catch (cause) {
    closeSync(homeFd);
    throw cause;
  }
  let state: "joined" | "home" = "joined";
  return () => {
    if (state === "home") return;
    state = "home";
    enterFd(homeFd, "the namespace that this process started in");
    closeSync(homeFd);
  };
}

function enter(path: string): void {
  const fd = openSync(path, "r");
  try {
    enterFd(fd, path);
  } finally {
    closeSync(fd);
  }
}

function enterFd(fd: number, name: string): void {
  if (setns(fd, CLONE_NEWNET) !== 0) {
    throw new SwitchoverError("FAILED_PRECONDITION", `setns to ${name} failed with errno ${koffi.errno()}.`, {
      reason: "SETNS_FAILED",
    });
  }
}
