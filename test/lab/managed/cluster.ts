import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../../proto/error.ts";
import { openChannel } from "../../../services/grpc/channel.ts";
import type { Security } from "../../../services/tls/security.ts";
import { closeSecurity } from "../../../services/tls/tls-settings.ts";
import { TrialPki } from "../../trial-pki.ts";
import type { Lab } from "../lab.ts";
import { joinNetworkNamespace } from "../network-namespace.ts";
import type { TrackedProcess } from "../tracked-process.ts";
import { LabProgram } from "./lab-program.ts";

const AGENT_PORT = 7443;
const COORDINATOR_PORT = 7440;
const NATS_PORT = 4222;
const COORDINATOR_ID = "lab";
const OPERATOR = "lab";
const READY_TIMEOUT_MS = 20_000;
const PROGRAMS = join(import.meta.dirname, "..", "..", "..", "services");
const AGENT_LISTENS = "The agent listens.";
const AGENT_KNOWN = "The host is in the host registry.";
const COORDINATOR_LISTENS = "The coordinator listens.";

export interface ClusterOptions {
  /** `own`: a process of its own, which can be killed by itself; default: the coordinator's child. */
  readonly natsServer?: "coordinators" | "own";
  /** `idle`: it takes no time from the hosts, as one on a machine of its own. Only with a nats-server that is not its child. */
  readonly coordinatorScheduling?: "normal" | "idle";
  /** What runs as a host's agent, with the agent's flags; default: the agent. */
  readonly agentProgram?: (host: string) => AgentProgram;
  /** Flags beyond those that a lab's coordinator needs, and its agents. */
  readonly coordinatorFlags?: readonly string[];
  /** How guests' memory goes from host to host; default: `plain`, as that of the bare QEMUs that runs are compared with. */
  readonly migrationStream?: "plain" | "tls";
  readonly agentFlags?: readonly string[];
}

export interface AgentProgram {
  /** A JavaScript file. */
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
}

/**
 * Switchover's own programs in a lab, as an operator would run them: a coordinator and a nats-server in the control
 * namespace and an agent on each host, all of them real processes that talk over the control network, each with a
 * certificate of a CA that the lab makes for itself.
 *
 * While a cluster is open, this process's own sockets live in the lab's control namespace too.
 */
export class Cluster {
  readonly natsUrl: string;
  /** Where the coordinator answers. */
  readonly coordinatorTarget: string;
  /** Log files of the programs. */
  readonly logs: string;
  readonly #natsServer: LabProgram | undefined;
  readonly #coordinator: LabProgram;
  readonly #agents: ReadonlyMap<string, LabProgram>;
  readonly #channels: ReadonlyMap<string, Client>;
  readonly #coordinatorChannel: Client;
  readonly #operatorChannel: Client;
  readonly #certificates: ClusterCertificates;
  readonly #leave: () => void;

  private constructor(
    lab: Lab,
    logs: string,
    options: ClusterOptions,
    certificates: ClusterCertificates,
    leave: () => void,
  ) {
    const { topology, directory } = lab;
    const { control, controlAddress, hosts } = topology;
    this.logs = logs;
    this.natsUrl = `nats://${controlAddress}:${NATS_PORT}`;
    this.coordinatorTarget = `${controlAddress}:${COORDINATOR_PORT}`;
    this.#certificates = certificates;
    this.#leave = leave;
    const { pki, controlPlane, operator } = certificates;
    this.#natsServer =
      options.natsServer === "own"
        ? new LabProgram({
            namespace: control,
            logPath: join(logs, "nats-server.log"),
            file: "nats-server",
            args: [
              ...["-js", "-sd", join(directory, "nats-server"), "-a", controlAddress],
              ...["-p", String(NATS_PORT)],
            ],
          })
        : undefined;
    this.#coordinator = new LabProgram({
      namespace: control,
      logPath: join(logs, "coordinator.log"),
      scheduling: options.coordinatorScheduling ?? "normal",
      file: process.execPath,
      args: [
        join(PROGRAMS, "coordinator", "main.js"),
        ...["--coordinator-id", COORDINATOR_ID, "--listen", this.coordinatorTarget],
        ...pki.flagsOf("coordinator", COORDINATOR_ID),
        // A lab's guests move to and fro faster than any cloud's.
        ...["--move-budget", "0"],
        ...(this.#natsServer === undefined
          ? [
              ...["--nats-listen", `${controlAddress}:${NATS_PORT}`],
              ...["--data-dir", join(directory, "coordinator")],
            ]
          : ["--nats-url", this.natsUrl]),
        ...(options.coordinatorFlags ?? []),
      ],
    });
    this.#agents = new Map(
      hosts.map((host) => {
        const program = options.agentProgram?.(host.name);
        const agent = new LabProgram({
          namespace: host.namespace,
          logPath: join(logs, `agent-${host.name}.log`),
          file: process.execPath,
          args: [
            program?.file ?? join(PROGRAMS, "agent", "main.js"),
            ...["--host-id", host.name, "--listen", `${host.controlAddress}:${AGENT_PORT}`],
            ...pki.flagsOf("agent", host.name),
            ...(options.migrationStream === "tls"
              ? ["--migration-tls-dir", migrationFolder(lab, host.name)]
              : ["--plaintext-migration"]),
            ...["--nats-url", this.natsUrl, "--migration-address", host.controlAddress],
            ...["--state-dir", agentStateDirectory(lab, host.name)],
            ...(options.agentFlags ?? []),
          ],
          ...(program === undefined ? {} : { env: program.env, onLine: program.onLine }),
        });
        return [host.name, agent];
      }),
    );
    const coordinatorOnly = {
      retriedServices: ["switchover.v1.MigrationService"],
      peer: { roles: ["coordinator"] },
    } as const;
    this.#coordinatorChannel = openChannel(this.coordinatorTarget, {
      ...coordinatorOnly,
      security: controlPlane,
    });
    this.#operatorChannel = openChannel(this.coordinatorTarget, { ...coordinatorOnly, security: operator });
    this.#channels = new Map(
      hosts.map((host) => [
        host.name,
        openChannel(`${host.controlAddress}:${AGENT_PORT}`, {
          retriedServices: ["switchover.v1.HostAgentService"],
          security: controlPlane,
          peer: { roles: ["agent"], name: host.name },
        }),
      ]),
    );
  }

  /** Starts everything and returns when the coordinator knows every host. Ends with the lab at the latest. */
  static async start(lab: Lab, options: ClusterOptions = {}): Promise<Cluster> {
    const leave = joinNetworkNamespace(lab.topology.control);
    lab.cleanups.add({ label: "the control namespace joined", run: async () => leave(), runNow: leave });
    const logs = join(lab.directory, "logs");
    await mkdir(logs, { recursive: true });
    const hosts = lab.topology.hosts.map(({ name }) => name);
    const certificates = await issueCertificates(pkiFolder(lab), hosts);
    const cluster = new Cluster(lab, logs, options, certificates, leave);
    lab.cleanups.add({
      label: "Switchover's programs",
      run: () => cluster.close(),
      runNow: () => {
        for (const { process } of cluster.#programs()) process.signal("SIGKILL");
      },
    });
    await Promise.all(
      [...cluster.#agents.values()].map((agent) => agent.saying(AGENT_KNOWN, READY_TIMEOUT_MS)),
    );
    return cluster;
  }

  get coordinator(): TrackedProcess {
    return this.#coordinator.process;
  }

  /** Throws NOT_FOUND / NO_NATS_SERVER where it is the coordinator's child. */
  get natsServer(): TrackedProcess {
    return this.#ownNatsServer().process;
  }

  agentProcess(host: string): TrackedProcess {
    return required(this.#agents.get(host), host).process;
  }

  /** Starts a host's agent, whose process has ended; resolves when it answers. */
  async restartAgent(host: string): Promise<void> {
    const agent = required(this.#agents.get(host), host);
    agent.restart();
    await agent.saying(AGENT_LISTENS, READY_TIMEOUT_MS);
  }

  /** Starts the coordinator, whose process has ended; resolves when it answers. */
  async restartCoordinator(): Promise<void> {
    this.#coordinator.restart();
    await this.#coordinator.saying(COORDINATOR_LISTENS, READY_TIMEOUT_MS);
  }

  /** Starts the nats-server, whose process has ended; resolves when it takes clients. */
  async restartNatsServer(): Promise<void> {
    this.#ownNatsServer().restart();
    await this.#ownNatsServer().saying("Server is ready", READY_TIMEOUT_MS);
  }

  /** The control plane's channel to a host's agent. */
  agent(host: string): Client {
    return required(this.#channels.get(host), host);
  }

  /** The control plane's channel to the coordinator. */
  get migrations(): Client {
    return this.#coordinatorChannel;
  }

  /** An operator's channel to the coordinator. */
  get operator(): Client {
    return this.#operatorChannel;
  }

  /** Flags of a switchoverctl that speaks for an operator. */
  get operatorFlags(): readonly string[] {
    return this.#certificates.pki.flagsOf("operator", OPERATOR);
  }

  /** Who may speak to whom in this lab. */
  get pki(): TrialPki {
    return this.#certificates.pki;
  }

  /** Ends the programs as an operator does (SIGTERM) and returns to the namespace this process came from. */
  async close(): Promise<void> {
    const channels = [this.#coordinatorChannel, this.#operatorChannel, ...this.#channels.values()];
    for (const channel of channels) channel.close();
    closeSecurity(this.#certificates.controlPlane);
    closeSecurity(this.#certificates.operator);
    await Promise.all([...this.#agents.values()].map((agent) => agent.close()));
    await this.#coordinator.close();
    await this.#natsServer?.close();
    this.#leave();
  }

  #programs(): readonly LabProgram[] {
    const nats = this.#natsServer === undefined ? [] : [this.#natsServer];
    return [...this.#agents.values(), this.#coordinator, ...nats];
  }

  #ownNatsServer(): LabProgram {
    if (this.#natsServer !== undefined) return this.#natsServer;
    throw new SwitchoverError("NOT_FOUND", "The lab's nats-server is the coordinator's child.", {
      reason: "NO_NATS_SERVER",
    });
  }
}

/** A private CA, what it issued for the programs, and the lab's own two certificates. */
interface ClusterCertificates {
  readonly pki: TrialPki;
  readonly controlPlane: Security;
  readonly operator: Security;
}

async function issueCertificates(folder: string, hosts: readonly string[]): Promise<ClusterCertificates> {
  const pki = await TrialPki.make(folder);
  await pki.issue("coordinator", COORDINATOR_ID);
  for (const host of hosts) {
    await pki.issue("agent", host);
    await pki.run("issue", "migration", host);
  }
  return {
    pki,
    controlPlane: await pki.security("control-plane", "lab"),
    operator: await pki.security("operator", OPERATOR),
  };
}

function pkiFolder(lab: Lab): string {
  return join(lab.directory, "pki");
}

/** Where the QEMUs of a host find what they prove by who they are. */
export function migrationFolder(lab: Lab, host: string): string {
  return join(pkiFolder(lab), "migration", host);
}

/** Where a host's agent keeps its journals. */
export function agentStateDirectory(lab: Lab, host: string): string {
  return join(lab.directory, `agent-${host}`);
}

function required<T>(value: T | undefined, host: string): T {
  if (value !== undefined) return value;
  throw new SwitchoverError("NOT_FOUND", `The lab has no host ${host}.`, { reason: "HOST_UNKNOWN" });
}
