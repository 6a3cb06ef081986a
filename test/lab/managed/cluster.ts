import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../../proto/error.ts";
import { openChannel } from "../../../services/grpc/channel.ts";
import { withDeadline } from "../deadline.ts";
import type { Lab } from "../lab.ts";
import { joinNetworkNamespace, type NetworkNamespace } from "../network-namespace.ts";
import type { TrackedProcess } from "../tracked-process.ts";

const AGENT_PORT = 7443;
const COORDINATOR_PORT = 7440;
const NATS_PORT = 4222;
const READY_TIMEOUT_MS = 20_000;
const PROGRAMS = join(import.meta.dirname, "..", "..", "..", "services");

/**
 * Switchover's own programs in a lab, as an operator would run them: a coordinator with its nats-server in the
 * control namespace and an agent on each host, all of them real processes that talk over the control network.
 *
 * While a cluster is open, this process's own sockets live in the lab's control namespace too.
 */
export class Cluster {
  readonly natsUrl: string;
  /** Where the coordinator answers. */
  readonly coordinatorTarget: string;
  readonly coordinator: TrackedProcess;
  readonly #agents: ReadonlyMap<string, TrackedProcess>;
  readonly #channels: ReadonlyMap<string, Client>;
  readonly #coordinatorChannel: Client;
  readonly #leave: () => void;

  private constructor(
    lab: Lab,
    coordinator: TrackedProcess,
    agents: ReadonlyMap<string, TrackedProcess>,
    leave: () => void,
  ) {
    const { controlAddress, hosts } = lab.topology;
    this.natsUrl = `nats://${controlAddress}:${NATS_PORT}`;
    this.coordinator = coordinator;
    this.#agents = agents;
    this.#leave = leave;
    this.coordinatorTarget = `${controlAddress}:${COORDINATOR_PORT}`;
    this.#coordinatorChannel = openChannel(this.coordinatorTarget, {
      retriedServices: ["switchover.v1.MigrationService"],
    });
    this.#channels = new Map(
      hosts.map((host) => [
        host.name,
        openChannel(`${host.controlAddress}:${AGENT_PORT}`, {
          retriedServices: ["switchover.v1.HostAgentService"],
        }),
      ]),
    );
  }

  /** Starts everything and returns when the coordinator knows every host. Ends with the lab at the latest. */
  static async start(lab: Lab): Promise<Cluster> {
    const { topology, directory } = lab;
    const leave = joinNetworkNamespace(topology.control);
    lab.cleanups.add({ label: "the control namespace joined", run: async () => leave(), runNow: leave });
    const logs = join(directory, "logs");
    await mkdir(logs, { recursive: true });
    const coordinator = new LoggedProgram(topology.control, logs, "coordinator", [
      ...["--listen", `${topology.controlAddress}:${COORDINATOR_PORT}`],
      ...["--nats-listen", `${topology.controlAddress}:${NATS_PORT}`],
      ...["--data-dir", join(directory, "coordinator")],
    ]);
    const agents = topology.hosts.map((host) => ({
      host: host.name,
      program: new LoggedProgram(host.namespace, logs, "agent", [
        ...["--host-id", host.name],
        ...["--listen", `${host.controlAddress}:${AGENT_PORT}`],
        ...["--nats-url", `nats://${topology.controlAddress}:${NATS_PORT}`],
        ...["--migration-address", host.controlAddress],
        ...["--state-dir", join(directory, `agent-${host.name}`)],
      ]),
    }));
    const cluster = new Cluster(
      lab,
      coordinator.process,
      new Map(agents.map(({ host, program }) => [host, program.process])),
      leave,
    );
    lab.cleanups.add({
      label: "Switchover's programs",
      run: () => cluster.close(),
      runNow: () => {
        for (const { process } of [coordinator, ...agents.map(({ program }) => program)])
          process.signal("SIGKILL");
      },
    });
    await Promise.all(agents.map(({ program }) => program.saying("The host is in the host registry.")));
    return cluster;
  }

  agentProcess(host: string): TrackedProcess {
    return required(this.#agents.get(host), host);
  }

  /** The channel to a host's agent. */
  agent(host: string): Client {
    return required(this.#channels.get(host), host);
  }

  /** The channel to the coordinator. */
  get migrations(): Client {
    return this.#coordinatorChannel;
  }

  /** Ends the programs as an operator does (SIGTERM) and returns to the namespace this process came from. */
  async close(): Promise<void> {
    for (const channel of [this.#coordinatorChannel, ...this.#channels.values()]) channel.close();
    await Promise.all([...this.#agents.values()].map((agent) => agent.kill("SIGTERM")));
    await this.coordinator.kill("SIGTERM");
    this.#leave();
  }
}

/** Its log goes to `<directory>/<name>.log`; resolves `saying` with the first line that contains the text. */
class LoggedProgram {
  readonly process: TrackedProcess;
  readonly #waiting = new Map<string, () => void>();

  constructor(namespace: NetworkNamespace, directory: string, name: string, args: readonly string[]) {
    const program = join(PROGRAMS, name, "main.js");
    this.process = namespace.spawn(process.execPath, [program, ...args]);
    this.process.ignoreOutput();
    const log = createWriteStream(join(directory, `${namespace.name}-${name}.log`));
    this.process.onErrorLine((line) => {
      log.write(`${line}\n`);
      for (const [text, heard] of this.#waiting) if (line.includes(text)) heard();
    });
    void this.process.exited.then(() => log.end());
  }

  async saying(text: string): Promise<void> {
    const heard = new Promise<void>((resolve) => this.#waiting.set(text, resolve));
    const ended = this.process.exited.then(({ stderr }) => {
      throw new SwitchoverError(
        "UNAVAILABLE",
        `A program of Switchover ended at its start: ${stderr.slice(-2000)}`,
        {
          reason: "PROGRAM_ENDED",
        },
      );
    });
    await withDeadline(Promise.race([heard, ended]), READY_TIMEOUT_MS, `"${text}" in a program's log`);
    this.#waiting.delete(text);
  }
}

function required<T>(value: T | undefined, host: string): T {
  if (value !== undefined) return value;
  throw new SwitchoverError("NOT_FOUND", `The lab has no host ${host}.`, { reason: "HOST_UNKNOWN" });
}
