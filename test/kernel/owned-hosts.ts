/** Two hosts, each an agent behind gRPC in a namespace with a br0 of its own, a coordinator, and no VMM: their owner is the test. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@grpc/grpc-js";
import { deviceFactory } from "../../agent/device/tap-creation.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HandOffBus } from "../../agent/host-agent-ports.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import { openRouteSocket, type RouteSocket } from "../../agent/netlink/route-socket.ts";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { CpuState, type GuestInstance, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import {
  HostAgentServiceService as methods,
  type ReportCpuStateRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Migration, MigrationMode, MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId } from "../../proto/ids.ts";
import { bindHostAgent } from "../../services/agent/host-agent-service.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { AgentClients } from "../../services/coordinator/agent-clients.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { type GrpcServer, startGrpcServer } from "../../services/grpc/server.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";
import { PLAIN } from "../plain-text.ts";
import { MemoryFeed, MemoryStore, PretendedFencing } from "../unit/coordinator-world.ts";
import { MAC, prepare, SILENT_LOG } from "./agent-bench.ts";
import { fdbOf } from "./host-state.ts";
import { inNetworkNamespace, withAnotherNamespace, within } from "./in-network-namespace.ts";
import { addBridge } from "./tap-end.ts";

const GUEST = "web" as GuestId;
const CALL_TIMEOUT_MS = 35_000;

type Told = Partial<ReportCpuStateRequest>;

/** What the owner of a guest's VMM asks of one host's agent, over the wire. */
export class OwnedHost {
  readonly name: string;
  readonly #namespace: string;
  readonly #client: Client;
  #instanceId = "";

  constructor(name: string, namespace: string, target: string) {
    this.name = name;
    this.#namespace = namespace;
    this.#client = openChannel(target, { ...PLAIN, retriedServices: [] });
  }

  get instanceId(): string {
    return this.#instanceId;
  }

  /** Prepares the devices of a VMM and brings it under the gate as it stands. */
  async adopt(instanceId: string, cpuState: CpuState, runState: string): Promise<void> {
    this.#instanceId = instanceId;
    await this.#ask(methods.prepareNics, prepare(instanceId));
    const externalCpuSource = { cpuState, runState, incomingUri: "", transferStatus: "" };
    await this.#ask(methods.adoptGuest, { ...this.#target, qmpPath: "", externalCpuSource });
  }

  async running(told: Told = {}): Promise<GuestInstance> {
    return this.#report({ ...told, cpuState: CpuState.RUNNING });
  }

  async stopped(told: Told = {}): Promise<GuestInstance> {
    return this.#report({ ...told, cpuState: CpuState.STOPPED });
  }

  async startCpus(): Promise<void> {
    await this.#ask(methods.startCpus, this.#target);
  }

  /** Waits until the agent wants that of the VMM. */
  async demanded(demand: VmmDemand): Promise<void> {
    for (const giveUpAt = performance.now() + 10_000; performance.now() < giveUpAt; ) {
      const { instances } = await this.#ask(methods.getGuest, { guestId: GUEST });
      if (instances.some(({ demands }) => demands.includes(demand))) return;
    }
    assert.fail(`${this.name} was not asked for ${Object.keys(VmmDemand)[demand]}.`);
  }

  /** The guest's registrations in this host's kernel: `web0 br0 static sticky`. */
  fdb(): string {
    return within(this.#namespace, () => fdbOf(MAC));
  }

  /** Anything that only this host's namespace has. */
  within<T>(body: () => T): T {
    return within(this.#namespace, body);
  }

  close(): void {
    this.#client.close();
  }

  get #target() {
    return { guestId: GUEST, instanceId: this.#instanceId };
  }

  async #report(told: Told): Promise<GuestInstance> {
    const unsaid = { runState: "", transferStatus: "", observedAtUnixUs: 0n, startRefusal: "" };
    const request = { ...unsaid, cpuState: CpuState.UNSPECIFIED, ...told, ...this.#target };
    const { instance } = await this.#ask(methods.reportCpuState, request);
    assert.ok(instance);
    return instance;
  }

  #ask<Request, Response>(
    method: Parameters<typeof callUnary<Request, Response>>[1],
    request: Request,
  ): Promise<Response> {
    return callUnary(this.#client, method, request, { timeoutMs: CALL_TIMEOUT_MS });
  }
}

export interface OwnedHosts {
  readonly ha: OwnedHost;
  readonly hb: OwnedHost;
  /** The real coordinator drives the guest from one to the other. */
  migrate(source: OwnedHost, destination: OwnedHost, mode: MigrationMode): Promise<void>;
  cancel(): Promise<void>;
  /** The last migration once it is over. */
  ended(): Promise<Migration>;
}

export function withOwnedHosts(body: (hosts: OwnedHosts) => Promise<void>): Promise<void> {
  return inNetworkNamespace((nearby) =>
    withAnotherNamespace(async (faraway) => {
      const directory = mkdtempSync(join(tmpdir(), "switchover-owned-"));
      const words = new Words();
      const agents: ServedAgent[] = [];
      // The agents' timers keep no process alive.
      const alive = setInterval(() => {}, 1_000);
      try {
        for (const [name, namespace] of [
          ["ha", nearby],
          ["hb", faraway],
        ] as const) {
          agents.push(await ServedAgent.start(name, namespace, directory, words));
        }
        await drive(agents, body);
      } finally {
        for (const agent of agents) await agent.close();
        clearInterval(alive);
        rmSync(directory, { recursive: true });
      }
    }),
  );
}

async function drive(
  agents: readonly ServedAgent[],
  body: (hosts: OwnedHosts) => Promise<void>,
): Promise<void> {
  const [a, b] = agents;
  assert.ok(a !== undefined && b !== undefined);
  const ha = new OwnedHost(a.name, a.namespace, a.target);
  const hb = new OwnedHost(b.name, b.namespace, b.target);
  const records = new Map(
    agents.map(({ name, target }) => [name, HostRecord.fromPartial({ hostId: name, target })]),
  );
  const directory = {
    lastKnown: (hostId: string) => records.get(hostId),
    get: async (hostId: string) => records.get(hostId) ?? null,
  };
  const clients = new AgentClients(directory, PLAINTEXT);
  const clock = openHostClock();
  const store = new MemoryStore();
  const [feed, fencing] = [new MemoryFeed(), new PretendedFencing()];
  const runner = new MigrationRunner({
    clock,
    store,
    feed,
    agents: clients,
    fencing,
    admission: OPEN_DOOR,
    log: SILENT_LOG,
  });
  let migrationId = "";
  try {
    await body({
      ha,
      hb,
      migrate: async (source, destination, mode) => {
        const spec = specOf(source, destination, mode);
        const request = { requestId: `r-${clock.unixUs()}`, guestId: GUEST, spec };
        const before = await store.get(GUEST);
        const claimed = claimGuest(before?.record ?? null, request, BigInt(clock.unixUs()), Math.random());
        assert.ok(claimed.t === "claimed");
        const stored = store.put(claimed.record);
        migrationId = stored.record.migration?.migration?.migrationId ?? "";
        runner.take(stored);
      },
      cancel: () => runner.tell(GUEST, { t: "CancelAsked" }),
      ended: () => archived(store, migrationId),
    });
  } finally {
    runner.close();
    clients.close();
    for (const host of [ha, hb]) host.close();
  }
}

async function archived(store: MemoryStore, migrationId: string): Promise<Migration> {
  const signal = AbortSignal.timeout(15_000);
  for await (const { record } of store.watch(GUEST, signal)) {
    const { archived: isOver, migration } = record.migration ?? {};
    if (isOver === true && migration?.migrationId === migrationId) return migration;
  }
  assert.fail("The migration has not ended.");
}

function specOf(source: OwnedHost, destination: OwnedHost, mode: MigrationMode): MigrationSpec {
  return {
    guestId: GUEST,
    sourceHostId: source.name,
    sourceInstanceId: source.instanceId,
    destinationHostId: destination.name,
    destinationInstanceId: destination.instanceId,
    mode,
    transfer: undefined,
    postCopy: undefined,
    labels: {},
    priority: 0,
    deadline: undefined,
  };
}

/** The hand-offs of all hosts, as NATS would carry them. */
class Words implements HandOffBus {
  readonly #listeners = new Set<Parameters<HandOffBus["subscribe"]>[1]>();

  publish(handOff: Parameters<HandOffBus["publish"]>[0]): void {
    for (const listener of this.#listeners) setImmediate(() => listener(handOff));
  }

  subscribe(_guestId: GuestId, listener: Parameters<HandOffBus["subscribe"]>[1]): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

class ServedAgent {
  readonly name: string;
  readonly namespace: string;
  readonly target: string;
  readonly #agent: HostAgent;
  readonly #server: GrpcServer;
  readonly #route: RouteSocket;
  readonly #ending: AbortController;

  private constructor(
    [name, namespace, target]: readonly [string, string, string],
    parts: readonly [HostAgent, GrpcServer, RouteSocket, AbortController],
  ) {
    [this.name, this.namespace, this.target] = [name, namespace, target];
    [this.#agent, this.#server, this.#route, this.#ending] = parts;
  }

  static async start(name: string, namespace: string, directory: string, words: Words): Promise<ServedAgent> {
    const state = join(directory, name);
    mkdirSync(join(state, "feed"), { recursive: true });
    const route = within(namespace, () => {
      addBridge("br0");
      return openRouteSocket();
    });
    const agent = new HostAgent({
      hostId: name as HostId,
      version: "0.0.0",
      kernelRelease: "test",
      bootId: "test",
      migrationAddress: "127.0.0.1",
      journals: openJournalDirectory(state),
      clock: openHostClock(),
      log: SILENT_LOG,
      handOffs: words,
      spool: openSpoolDirectory(join(state, "feed")),
      feed: { last: async () => null, append: async () => ({ t: "stored", position: 1 }) },
      devices: {
        route,
        factory: { create: (creation) => within(namespace, () => deviceFactory.create(creation)) },
      },
      openVmm: async () => assert.fail("An agent drives no VMM here."),
    });
    const ending = new AbortController();
    const target = `unix:${join(state, "agent.sock")}`;
    const services = [bindHostAgent(agent, SILENT_LOG, ending.signal)];
    const server = await startGrpcServer({
      security: PLAINTEXT,
      targets: [target],
      services,
      log: SILENT_LOG,
    });
    return new ServedAgent([name, namespace, target], [agent, server, route, ending]);
  }

  async close(): Promise<void> {
    this.#ending.abort("closed");
    await this.#server.close(1_000);
    this.#agent.close();
    this.#route.close();
  }
}
