import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pollUntil } from "../lab/deadline.ts";
import { TrackedProcess } from "../lab/tracked-process.ts";
import { cpuSecondsOf } from "./cpu-seconds.ts";
import { findFreePorts } from "./free-ports.ts";

const READY_WITHIN_MS = 15_000;
const ASK_WITHIN_MS = 2_000;

interface Ports {
  readonly client: number;
  readonly cluster: number;
  readonly monitor: number;
}

/** What a server has passed on. */
export interface NatsTraffic {
  readonly in_msgs: number;
  readonly out_msgs: number;
}

/** A nats-server with JetStream on 127.0.0.1, alone or one of a cluster; killed, it comes back on ports and store. */
export class NatsNode {
  readonly name: string;
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #routes: readonly string[];
  #process: TrackedProcess | null = null;

  private constructor(name: string, folder: string, ports: Ports, routes: readonly string[]) {
    this.name = name;
    this.#folder = folder;
    this.#ports = ports;
    this.#routes = routes;
  }

  /** As many servers; more than one are a cluster. None runs yet. */
  static async plan(count: number, folder: string, random?: () => number): Promise<readonly NatsNode[]> {
    const ports = await findFreePorts(3 * count, random);
    const all = Array.from({ length: count }, (_, index): Ports => {
      const [client = 0, cluster = 0, monitor = 0] = ports.slice(3 * index, 3 * index + 3);
      return { client, cluster, monitor };
    });
    const routes = count === 1 ? [] : all.map(({ cluster }) => `nats://127.0.0.1:${cluster}`);
    return all.map((own, index) => {
      const name = `nats-${index + 1}`;
      const nodeFolder = join(folder, name);
      mkdirSync(nodeFolder, { recursive: true });
      return new NatsNode(name, nodeFolder, own, routes);
    });
  }

  get url(): string {
    return `nats://127.0.0.1:${this.#ports.client}`;
  }

  get hasEnded(): boolean {
    return this.#process?.exit() !== undefined;
  }

  /** Resolves when its process runs; it may not answer yet. */
  start(): void {
    const { client, cluster, monitor } = this.#ports;
    const args = ["-n", this.name, "-a", "127.0.0.1", "-p", String(client), "-m", String(monitor)];
    args.push("-js", "-sd", join(this.#folder, "store"), "-l", join(this.#folder, "log"));
    if (this.#routes.length > 0) {
      args.push("--cluster_name", "switchover", "--cluster", `nats://127.0.0.1:${cluster}`);
      args.push("--routes", this.#routes.join(","));
    }
    this.#process = TrackedProcess.start([], "nats-server", args);
    this.#process.ignoreOutput();
  }

  /** Resolves once JetStream serves; in a cluster that needs most of the others. */
  async whenReady(withinMs = READY_WITHIN_MS): Promise<void> {
    await pollUntil(
      async () => ((await this.#ask("healthz")) === null ? undefined : true),
      withinMs,
      `JetStream of ${this.name}`,
      50,
    );
  }

  async traffic(): Promise<NatsTraffic> {
    const { in_msgs = 0, out_msgs = 0 } = ((await this.#ask("varz")) ?? {}) as Partial<NatsTraffic>;
    return { in_msgs, out_msgs };
  }

  /** User and system seconds that it has used since it started. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.#process?.pid);
  }

  /** Which server of the cluster places streams and consumers, as this one knows it. */
  async placingServer(): Promise<string | undefined> {
    const said = (await this.#ask("jsz")) as { readonly meta_cluster?: { readonly leader?: string } } | null;
    return said?.meta_cluster?.leader;
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async end(): Promise<void> {
    await this.#process?.kill("SIGTERM");
  }

  /** What its monitor says; null where it does not, or says that it is not well. */
  async #ask(path: string): Promise<unknown> {
    try {
      const signal = AbortSignal.timeout(ASK_WITHIN_MS);
      const answer = await fetch(`http://127.0.0.1:${this.#ports.monitor}/${path}`, { signal });
      return answer.ok ? ((await answer.json()) as unknown) : null;
    } catch {
      return null;
    }
  }
}
