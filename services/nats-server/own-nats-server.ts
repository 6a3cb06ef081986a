import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { waitMs } from "../nats/connection.ts";

/**
 * A nats-server with JetStream that belongs to one coordinator, for those who run no NATS of their own.
 *
 * It lives and dies with its owner: it is started again when it dies, ended at shutdown, and one that a killed owner
 * left behind on the same folder is ended before the next starts. Its port stays the same from start to close.
 */
const READY_TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const END_TIMEOUT_MS = 5_000;
const RESTART_FIRST_MS = 200;
const RESTART_LAST_MS = 5_000;

export interface OwnNatsServerOptions {
  /** IP address that it listens on. */
  readonly address: string;
  /** 0: a free one, picked by the server itself. */
  readonly port: number;
  /** Holds its store, pid and ports files; must exist and be this server's alone. */
  readonly folder: string;
  readonly log: Log;
  /** Name or path of the program; `nats-server` of PATH unless told otherwise. */
  readonly program?: string;
  /** Gives the start up; what was started is ended before `start` throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export class OwnNatsServer {
  readonly #options: OwnNatsServerOptions;
  readonly #closing = new AbortController();
  #child: ChildProcess;
  #port: number;
  #restarts = 0;
  #guarding: Promise<void>;

  private constructor(options: OwnNatsServerOptions, child: ChildProcess, port: number) {
    this.#options = options;
    this.#child = child;
    this.#port = port;
    this.#guarding = this.#guard();
  }

  /**
   * Resolves once clients can connect. Throws FAILED_PRECONDITION / NATS_SERVER_MISSING where the program is absent,
   * UNAVAILABLE / NATS_SERVER_FAILED where it ends or is not ready within 10 s.
   */
  static async start(options: OwnNatsServerOptions): Promise<OwnNatsServer> {
    await endPredecessor(options);
    options.signal?.throwIfAborted();
    const { child, port } = await launch(options, options.port, options.signal);
    const server = new OwnNatsServer(options, child, port);
    options.log.info(
      { nats_url: server.url, nats_pid: child.pid, folder: options.folder },
      "Started nats-server.",
    );
    return server;
  }

  /** Where a client on this host connects. */
  get url(): string {
    const { address } = this.#options;
    const local = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
    return `nats://${local.includes(":") ? `[${local}]` : local}:${this.#port}`;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ends the server in an orderly way, by force after 5 s. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#guarding;
    await end(this.#child);
  }

  /** Starts the server again whenever it dies before `close`. */
  async #guard(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await exitOf(this.#child, signal);
      if (signal.aborted) return;
      this.#options.log.error(
        { exit_code: this.#child.exitCode },
        "The own nats-server died; starting it again.",
      );
      await waitMs(Math.min(RESTART_FIRST_MS * 2 ** this.#restarts, RESTART_LAST_MS), signal);
      if (signal.aborted) return;
      this.#restarts = Math.min(this.#restarts + 1, 16);
      try {
        this.#child = (await launch(this.#options, this.#port)).child;
        this.#restarts = 0;
      } catch (thrown) {
        this.#options.log.error({ err: thrown }, "The own nats-server did not start again; trying on.");
      }
    }
  }
}

async function launch(
  options: OwnNatsServerOptions,
  port: number,
  givenUp?: AbortSignal,
): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const { folder } = options;
  for (const name of await readdir(folder)) if (name.endsWith(".ports")) await unlink(join(folder, name));
  const args = ["-js", "-sd", join(folder, "store"), "-a", options.address, "-p", String(port || -1)];
  args.push("--ports_file_dir", folder, "-P", pidFile(folder));
  // A session of its own: Ctrl-C at a terminal must reach the owner first, which still has words to store.
  const child = spawn(options.program ?? "nats-server", args, {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  const complaint = followComplaints(child, options.log);
  const failure = new Promise<never>((_, reject) => {
    child.once("error", (error) => reject(startFault(error)));
    if (givenUp?.aborted) reject(givenUp.reason);
    givenUp?.addEventListener("abort", () => reject(givenUp.reason), { once: true });
    child.once("exit", (code, signal) => {
      const sentence = `nats-server ended before it was ready (${signal ?? code}): ${complaint()}`;
      reject(new SwitchoverError("UNAVAILABLE", sentence, { reason: "NATS_SERVER_FAILED" }));
    });
  });
  try {
    return { child, port: await Promise.race([readyPort(folder, child), failure]) };
  } catch (thrown) {
    await end(child);
    throw thrown;
  } finally {
    failure.catch(() => {});
  }
}

function startFault(error: NodeJS.ErrnoException): SwitchoverError {
  if (error.code === "ENOENT") {
    const sentence =
      "No NATS address was given and there is no nats-server program on this host to start one: " +
      "install nats-server, or give --nats-url.";
    return new SwitchoverError("FAILED_PRECONDITION", sentence, {
      reason: "NATS_SERVER_MISSING",
      cause: error,
    });
  }
  const sentence = `nats-server cannot be started: ${error.message}.`;
  return new SwitchoverError("UNAVAILABLE", sentence, { reason: "NATS_SERVER_FAILED", cause: error });
}

/** The server writes its ports file when it takes connections. */
async function readyPort(folder: string, child: ChildProcess): Promise<number> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const name = (await readdir(folder)).find((entry) => entry.endsWith(`_${child.pid}.ports`));
    const port = name === undefined ? undefined : parsePort(await readFile(join(folder, name), "utf8"));
    if (port !== undefined) return port;
    await waitMs(POLL_MS);
  }
  const sentence = `nats-server was not ready within ${READY_TIMEOUT_MS / 1000} s.`;
  throw new SwitchoverError("UNAVAILABLE", sentence, { reason: "NATS_SERVER_FAILED" });
}

/** Undefined for a file that is only half written. */
function parsePort(text: string): number | undefined {
  const port = /"nats":\s*\["nats:\/\/[^"]*:(\d+)"/.exec(text)?.[1];
  return port === undefined ? undefined : Number(port);
}

/** Passes warnings and errors on to the log; the result is the last one of them. */
function followComplaints(child: ChildProcess, log: Log): () => string {
  let last = "it said nothing.";
  if (child.stderr === null) return () => last;
  createInterface({ input: child.stderr }).on("line", (line) => {
    const complaint = /\[(WRN|ERR|FTL)\] (.*)$/.exec(line);
    // Faults of its command line come without a level.
    if (complaint === null && line.includes("[INF]")) return;
    last = complaint?.[2] ?? line;
    log.warn({ nats_server: last }, "nats-server complained.");
  });
  return () => last;
}

/** Ends a server that a killed owner left on this folder, known by its pid file and its command line. */
async function endPredecessor(options: OwnNatsServerOptions): Promise<void> {
  const pid = Number(await readFile(pidFile(options.folder), "utf8").catch(() => ""));
  if (!Number.isInteger(pid) || pid <= 1) return;
  const isOurs = async (): Promise<boolean> => {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return commandLine.split("\0").includes(join(options.folder, "store"));
  };
  const deadline = performance.now() + END_TIMEOUT_MS;
  for (let sent = false; !options.signal?.aborted && (await isOurs()); await waitMs(POLL_MS)) {
    if (!sent)
      options.log.warn({ nats_pid: pid }, "Ending a nats-server that was left behind on this folder.");
    if (!sent || performance.now() > deadline) process.kill(pid, sent ? "SIGKILL" : "SIGTERM");
    sent = true;
  }
}

function pidFile(folder: string): string {
  return join(folder, "nats-server.pid");
}

function exitOf(child: ChildProcess, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || signal.aborted) return resolve();
    child.once("exit", () => resolve());
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new AbortController();
  child.once("exit", () => ended.abort());
  child.kill("SIGTERM");
  await waitMs(END_TIMEOUT_MS, ended.signal);
  if (ended.signal.aborted) return;
  child.kill("SIGKILL");
  await waitMs(END_TIMEOUT_MS, ended.signal);
}
