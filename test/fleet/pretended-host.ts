import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HandOffBus } from "../../agent/host-agent-ports.ts";
import type { HostId } from "../../proto/ids.ts";
import { AGENT_CAPABILITIES } from "../../services/agent/capabilities.ts";
import { bindHostAgent } from "../../services/agent/host-agent-service.ts";
import { notingTraces } from "../../services/agent/note-traces.ts";
import type { HostClock } from "../../services/clock/host-clock.ts";
import { TRANSPORT_LIMITS } from "../../services/grpc/limits.ts";
import type { NatsLink } from "../../services/nats/connection.ts";
import { NatsFeedStream } from "../../services/nats/feed-stream.ts";
import { startHeartbeat } from "../../services/nats/host-registry.ts";
import { MigrationTraces } from "../../services/trace/migration-traces.ts";
import { Grinder } from "../simulation/engine/grain.ts";
import type { Random } from "../simulation/engine/random.ts";
import { SimulatedProcess } from "../simulation/engine/simulated-process.ts";
import { SimulatedHost } from "../simulation/model/host.ts";
import { openQmpLink } from "../simulation/model/qmp-link.ts";
import { type CommandListener, witnessed } from "./command-witness.ts";
import type { WallTimeline } from "./wall-timeline.ts";

/** What the hosts of one process share. */
export interface FleetGround {
  readonly clock: HostClock;
  readonly timeline: WallTimeline;
  readonly random: Random;
  readonly link: NatsLink;
  readonly handOffs: HandOffBus;
  readonly listener: FleetListener;
}

export interface FleetListener extends CommandListener {
  /** What an agent says is in its spool: one FeedEvent a line. */
  spooled(text: string): void;
  /** An agent raises an alarm. */
  alarmed(reason: string): void;
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * A host whose kernel, disk and QEMUs are those of the simulation, with the real agent on them: HostAgentService over
 * real gRPC, the feed, the hand-off and the heartbeat over real NATS.
 */
export class PretendedHost {
  readonly simulated: SimulatedHost;
  readonly agent: HostAgent;
  readonly #server = new Server(TRANSPORT_LIMITS);
  readonly #ending = new AbortController();
  #endHeartbeat: () => Promise<void> = async () => {};

  private constructor(hostId: string, ground: FleetGround) {
    const { clock, handOffs, link, listener, random, timeline } = ground;
    const grinder = new Grinder("coarse", random);
    const process = new SimulatedProcess(`agent ${hostId}`, timeline);
    const host = new SimulatedHost(hostId, random, grinder, "replace", () => {});
    this.simulated = host;
    const spool = host.disk.spool.storeFor(process);
    const traces = new MigrationTraces();
    this.agent = new HostAgent({
      hostId: hostId as HostId,
      version: "0.0.0",
      kernelRelease: "pretended",
      bootId: host.bootId,
      migrationAddress: "127.0.0.1",
      journals: host.disk.storeFor(process),
      clock,
      log: {
        ...SILENT,
        error: ({ event, reason }) => void (event === "alarmRaised" && listener.alarmed(String(reason))),
      },
      handOffs,
      spool: {
        ...spool,
        append: (segment, bytes) => {
          listener.spooled(Buffer.from(bytes).toString("utf8"));
          spool.append(segment, bytes);
        },
      },
      feed: new NatsFeedStream(link),
      traces,
      devices: {
        route: {
          execute: (batch) => host.kernel.execute(batch),
          ready: () => {},
          dump: (dump) => host.kernel.dump(dump),
        },
        factory: { create: (creation) => host.kernel.create(creation) },
        rehearsals: 1,
      },
      openVmm: (path, hear) =>
        openQmpLink({ agent: process, timeline, random, grinder }, path, host.qemus.get(path), hear),
    });
    const service = bindHostAgent(this.agent, SILENT, this.#ending.signal);
    const { definition, implementation } = notingTraces(service, traces);
    const nowUnixUs = () => clock.unixUs();
    this.#server.addService(definition, witnessed(hostId, implementation, nowUnixUs, listener));
  }

  /** Listens on `target`, and is in the host registry from the first heartbeat that NATS takes. */
  static async start(hostId: string, target: string, ground: FleetGround): Promise<PretendedHost> {
    const host = new PretendedHost(hostId, ground);
    await new Promise<void>((resolve, reject) => {
      host.#server.bindAsync(target, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    host.#endHeartbeat = startHeartbeat(ground.link, SILENT, () => ({
      hostId,
      target,
      version: "0.0.0",
      heartbeatAtUnixUs: BigInt(ground.clock.unixUs()),
      capabilities: [...AGENT_CAPABILITIES],
    }));
    return host;
  }

  get hostId(): string {
    return this.simulated.hostId;
  }

  async close(): Promise<void> {
    await this.#endHeartbeat();
    this.#ending.abort();
    this.#server.forceShutdown();
    this.agent.close();
  }
}
