import type { HostAgent } from "../../../agent/host-agent.ts";
import type { AgentPort } from "../../../coordinator/runner/agent-port.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import type { HostId } from "../../../proto/ids.ts";
import type { Grinder } from "../engine/grain.ts";
import type { Timeline } from "../engine/timeline.ts";
import { callOver, type Peer } from "./call.ts";
import type { SimulatedNetwork } from "./network.ts";

export type AgentCommand = Exclude<keyof AgentPort, "follow">;

const COMMANDS: readonly AgentCommand[] = [
  "preflight",
  "prepareDestination",
  "armSource",
  "beginTransfer",
  "switchToPostCopy",
  "getHandOff",
  "deliverHandOff",
  "releaseSource",
  "cancelTransfer",
  "abortDestination",
  "handBack",
  "resumeSource",
  "pauseMigration",
  "recoverMigration",
];

/** A connection without a sign of life for so long is given up, by both ends. */
const KEEPALIVE_US = 10_000_000;

/** Given as the reason: an error of its own would cost a stack trace each time. */
const ENDED = "ended";

/** The agent that lives on a host at the moment; null where none does. */
export type FindAgent = (hostId: string) => (Peer & { readonly agent: HostAgent }) | null;

export interface AgentWireParts {
  readonly network: SimulatedNetwork;
  readonly timeline: Timeline;
  readonly grinder: Grinder;
  readonly findAgent: FindAgent;
  /** Carries a command out at its agent; what may be put around that. */
  readonly carryOut: (
    hostId: string,
    command: AgentCommand,
    request: unknown,
    agent: HostAgent,
  ) => Promise<unknown>;
}

/** HostAgentService as a coordinator reaches it over the simulated network. */
export function agentPortOver(parts: AgentWireParts, caller: Peer): AgentPort {
  const { network, findAgent, carryOut } = parts;
  const commands = Object.fromEntries(
    COMMANDS.map((command) => [
      command,
      (hostId: HostId, request: unknown, call: { deadlineMs: number; signal: AbortSignal }) =>
        callOver(
          network,
          caller,
          () => findAgent(hostId),
          call,
          hostId,
          async () => {
            const found = findAgent(hostId);
            if (found === null)
              throw new SwitchoverError("UNAVAILABLE", "It is gone.", { reason: "UNREACHABLE" });
            return carryOut(hostId, command, request, found.agent);
          },
        ),
    ]),
  ) as unknown as Omit<AgentPort, "follow">;
  return {
    follow: (hostId, guestId, migrationId, afterSequence, signal) => {
      const stream = new FollowStream(parts, caller, hostId);
      void stream.serve((agent, ended) => agent.followGuest({ guestId, migrationId, afterSequence }, ended));
      return stream.read(signal);
    },
    ...commands,
  };
}

/** Carries a command out as its agent would, whatever it is called. */
export function commandOf(agent: HostAgent, command: AgentCommand, request: unknown): Promise<unknown> {
  const methods = agent as unknown as Partial<Record<AgentCommand, (request: unknown) => Promise<unknown>>>;
  const method = methods[command];
  if (method === undefined) {
    throw new SwitchoverError("UNIMPLEMENTED", `No agent has ${command} yet.`, {
      reason: "COMMAND_NOT_DRIVEN",
    });
  }
  return method.call(agent, request);
}

/** One FollowGuest: in order, until it breaks, which a reader learns when it has read what came before. */
class FollowStream {
  readonly #parts: AgentWireParts;
  readonly #caller: Peer;
  readonly #hostId: string;
  readonly #ended = new AbortController();
  readonly #arrived: FeedEvent[] = [];
  #broken = false;
  #wake: () => void = () => {};
  #unwatch: () => void = () => {};
  /** Order is kept: what is on its way arrives one after another. */
  readonly #onTheWay: { readonly sentAtUs: number; readonly events: FeedEvent[] }[] = [];

  constructor(parts: AgentWireParts, caller: Peer, hostId: string) {
    this.#parts = parts;
    this.#caller = caller;
    this.#hostId = hostId;
    caller.process.onDeath(() => this.#end());
  }

  async serve(
    follow: (agent: HostAgent, ended: AbortSignal) => AsyncIterable<{ event?: FeedEvent | undefined }>,
  ) {
    const { network, findAgent } = this.#parts;
    const caller = this.#caller;
    // Both ends ping: a cut that lasts ends the stream.
    this.#unwatch = network.onceCutFor(KEEPALIVE_US, caller.node, this.#hostId, () => this.#end());
    network.send(
      caller.node,
      this.#hostId,
      () => {
        const found = findAgent(this.#hostId);
        if (found === null || found.process.state === "dead") return this.#breakSoon();
        found.process.onDeath(() => this.#breakSoon());
        found.process.run(() => void this.#pump(follow(found.agent, this.#ended.signal), found));
      },
      () => this.#end(),
    );
  }

  async *read(signal: AbortSignal): AsyncIterable<FeedEvent> {
    const onAbort = () => this.#end();
    signal.addEventListener("abort", onAbort);
    try {
      for (;;) {
        if (signal.aborted) return;
        const next = this.#arrived.shift();
        if (next !== undefined) {
          yield next;
          continue;
        }
        if (this.#broken) {
          throw new SwitchoverError("UNAVAILABLE", `The stream from ${this.#hostId} broke.`, {
            reason: "UNREACHABLE",
          });
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#end();
    }
  }

  async #pump(events: AsyncIterable<{ event?: FeedEvent | undefined }>, from: Peer): Promise<void> {
    try {
      for await (const { event } of events) {
        if (event === undefined || from.process.state === "dead") continue;
        this.#carry(event, from);
      }
    } catch {
      // As a broken stream: the reader opens another.
    }
    this.#breakSoon();
  }

  /** What is said at one instant may come in one packet. */
  #carry(event: FeedEvent, from: Peer): void {
    const { network, timeline, grinder } = this.#parts;
    const last = this.#onTheWay.at(-1);
    if (last?.sentAtUs === timeline.nowUs && grinder.joins()) {
      last.events.push(event);
      return;
    }
    this.#onTheWay.push({ sentAtUs: timeline.nowUs, events: [event] });
    network.send(
      from.node,
      this.#caller.node,
      () => {
        const next = this.#onTheWay.shift();
        if (next !== undefined) this.#caller.process.run(() => this.#arrive(next.events));
      },
      () => this.#end(),
    );
  }

  #arrive(events: readonly FeedEvent[]): void {
    if (this.#broken) return;
    this.#arrived.push(...events);
    this.#wake();
  }

  #breakSoon(): void {
    this.#parts.network.send(
      this.#hostId,
      this.#caller.node,
      () => this.#end(),
      () => this.#end(),
    );
  }

  #end(): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#unwatch();
    this.#ended.abort(ENDED);
    this.#caller.process.run(() => this.#wake());
  }
}
