import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { pollUntil } from "../lab/deadline.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";
import { PLAIN } from "../plain-text.ts";
import { cpuSecondsOf } from "./cpu-seconds.ts";

const READY_WITHIN_MS = 60_000;
const ASK_WITHIN_MS = 2_000;

export interface CoordinatorOptions {
  readonly coordinatorId: string;
  readonly natsUrl: string;
  readonly natsReplicas: number;
  /** Holds its socket, its log and its profiles. */
  readonly folder: string;
  /** Of node itself. */
  readonly nodeFlags?: readonly string[];
}

/** A coordinator as an operator runs it: the program, on a unix socket, with its log in a file. */
export class CoordinatorProcess {
  readonly client: Client;
  readonly #options: CoordinatorOptions;
  readonly #target: string;
  #process: TrackedProcess | null = null;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#target = `unix:${join(options.folder, `${options.coordinatorId}.sock`)}`;
    this.client = openChannel(this.#target, { ...PLAIN, retriedServices: [] });
  }

  get coordinatorId(): string {
    return this.#options.coordinatorId;
  }

  get logFile(): string {
    return join(this.#options.folder, `${this.coordinatorId}.log`);
  }

  start(): void {
    const { coordinatorId, natsReplicas, natsUrl, nodeFlags = [] } = this.#options;
    const program = fileURLToPath(new URL("../../services/coordinator/main.js", import.meta.url));
    const flags = { "coordinator-id": coordinatorId, listen: this.#target, "nats-url": natsUrl };
    const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
    args.push("--nats-replicas", String(natsReplicas), "--insecure-loopback");
    // What a coordinator drives at a time is under test, and not how much a host or a guest is spared.
    args.push("--max-migrations-per-source", "10000", "--max-migrations-per-destination", "10000");
    args.push("--max-migrations", "1000000", "--move-budget", "0");
    const intoLog = ["sh", "-c", 'exec "$@" 2>>"$LOG_FILE"', "sh"];
    const env = { LOG_FILE: this.logFile };
    const cwd = this.#options.folder;
    this.#process = TrackedProcess.start(intoLog, process.execPath, [...nodeFlags, program, ...args], {
      env,
      cwd,
    });
    this.#process.ignoreOutput();
  }

  /** Resolves once it answers. */
  async whenReady(withinMs = READY_WITHIN_MS): Promise<void> {
    await pollUntil(() => this.#answers(), withinMs, `${this.coordinatorId}'s first answer`, 50);
  }

  /** Whether it was started and is no longer there. */
  get hasEnded(): boolean {
    return this.#process?.exit() !== undefined;
  }

  /** User and system seconds that it has used since it started. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.#process?.pid);
  }

  /** The most memory that it has had, and what it has now. Megabytes. */
  residentMb(): { readonly peak: number; readonly now: number } {
    const text = readFileSync(`/proc/${this.#process?.pid}/status`, "utf8");
    const megabytes = (name: string) =>
      Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1] ?? 0) / 1_024;
    return { peak: megabytes("VmHWM"), now: megabytes("VmRSS") };
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  /** As a service manager ends it. */
  async end(): Promise<void> {
    this.#process?.signal("SIGTERM");
    await this.#process?.waitForExit(10_000);
  }

  close(): void {
    this.client.close();
  }

  async #answers(): Promise<true | undefined> {
    try {
      const migrationId = "nobody-000000000000";
      await callUnary(this.client, methods.getMigration, { migrationId }, { timeoutMs: ASK_WITHIN_MS });
      return true;
    } catch (thrown) {
      const { code } = SwitchoverError.from(thrown);
      return code === "NOT_FOUND" || code === "INVALID_ARGUMENT" ? true : undefined;
    }
  }
}
