import type { Client, MethodDefinition } from "@grpc/grpc-js";
import type { DrainedHostPort } from "../../coordinator/drain/survey-drain.ts";
import type { AgentCall, AgentPort } from "../../coordinator/runner/agent-port.ts";
import { knownCapabilities, rpcCapability } from "../../proto/agent-capabilities.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import {
  type AbortDestinationRequest,
  type ArmSourceRequest,
  type BeginTransferRequest,
  type CancelTransferRequest,
  type DeliverHandOffRequest,
  type GetHandOffRequest,
  type HandBackRequest,
  HostAgentServiceService as methods,
  type PauseMigrationRequest,
  type PreflightRequest,
  type PrepareDestinationRequest,
  type ReadClockRequest,
  type RecoverMigrationRequest,
  type ReleaseSourceRequest,
  type ResumeSourceRequest,
  type SwitchToPostCopyRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import type { CallClock } from "../grpc/call-meter.ts";
import { openChannel } from "../grpc/channel.ts";
import { callServerStream } from "../grpc/server-stream.ts";
import { callUnary } from "../grpc/unary.ts";
import type { Security } from "../tls/security.ts";

/** A host behind a cut cable does not refuse: it does not answer. */
const FOLLOW_REACHED_WITHIN_MS = 2_000;

/** Where agents listen: the last record heard of, else what the registry says. */
export interface HostDirectory {
  lastKnown(hostId: HostId): HostRecord | undefined;
  get(hostId: HostId): Promise<HostRecord | null>;
}

/**
 * AgentPort over gRPC: one channel a host, opened with its first call and moved when the host's record names another
 * target, and to nobody but that host's agent, by its certificate. A host that fell silent is still called at its last target, for the registry may be away and the host not.
 * UNIMPLEMENTED / CAPABILITY_MISSING, without a call, for one that its agent does not know.
 */
export class AgentClients implements AgentPort, DrainedHostPort {
  readonly #hosts: HostDirectory;
  readonly #security: Security;
  readonly #clock: CallClock;
  readonly #channels = new Map<HostId, { readonly target: string; readonly client: Client }>();

  /** `clock` times the calls; without it nobody does. */
  constructor(hosts: HostDirectory, security: Security, clock: CallClock = { time: (_, call) => call() }) {
    this.#hosts = hosts;
    this.#security = security;
    this.#clock = clock;
  }

  readClock(hostId: HostId, request: ReadClockRequest, call: AgentCall) {
    return this.#call(hostId, methods.readClock, request, call);
  }

  preflight(hostId: HostId, request: PreflightRequest, call: AgentCall) {
    return this.#call(hostId, methods.preflight, request, call);
  }

  prepareDestination(hostId: HostId, request: PrepareDestinationRequest, call: AgentCall) {
    return this.#call(hostId, methods.prepareDestination, request, call);
  }

  armSource(hostId: HostId, request: ArmSourceRequest, call: AgentCall) {
    return this.#call(hostId, methods.armSource, request, call);
  }

  beginTransfer(hostId: HostId, request: BeginTransferRequest, call: AgentCall) {
    return this.#call(hostId, methods.beginTransfer, request, call);
  }

  switchToPostCopy(hostId: HostId, request: SwitchToPostCopyRequest, call: AgentCall) {
    return this.#call(hostId, methods.switchToPostCopy, request, call);
  }

  getHandOff(hostId: HostId, request: GetHandOffRequest, call: AgentCall) {
    return this.#call(hostId, methods.getHandOff, request, call);
  }

  deliverHandOff(hostId: HostId, request: DeliverHandOffRequest, call: AgentCall) {
    return this.#call(hostId, methods.deliverHandOff, request, call);
  }

  releaseSource(hostId: HostId, request: ReleaseSourceRequest, call: AgentCall) {
    return this.#call(hostId, methods.releaseSource, request, call);
  }

  cancelTransfer(hostId: HostId, request: CancelTransferRequest, call: AgentCall) {
    return this.#call(hostId, methods.cancelTransfer, request, call);
  }

  abortDestination(hostId: HostId, request: AbortDestinationRequest, call: AgentCall) {
    return this.#call(hostId, methods.abortDestination, request, call);
  }

  handBack(hostId: HostId, request: HandBackRequest, call: AgentCall) {
    return this.#call(hostId, methods.handBack, request, call);
  }

  resumeSource(hostId: HostId, request: ResumeSourceRequest, call: AgentCall) {
    return this.#call(hostId, methods.resumeSource, request, call);
  }

  pauseMigration(hostId: HostId, request: PauseMigrationRequest, call: AgentCall) {
    return this.#call(hostId, methods.pauseMigration, request, call);
  }

  recoverMigration(hostId: HostId, request: RecoverMigrationRequest, call: AgentCall) {
    return this.#call(hostId, methods.recoverMigration, request, call);
  }

  describe(hostId: HostId, call: AgentCall) {
    return this.#call(hostId, methods.describe, {}, call);
  }

  getGuest(hostId: HostId, guestId: string, call: AgentCall) {
    return this.#call(hostId, methods.getGuest, { guestId }, call);
  }

  async *follow(
    hostId: HostId,
    guestId: GuestId,
    migrationId: MigrationId,
    afterSequence: bigint,
    signal: AbortSignal,
    trace?: GivenTrace,
  ): AsyncGenerator<FeedEvent, void, undefined> {
    const client = this.#clientOf(hostId, await this.#recordOf(hostId));
    const request = { guestId, migrationId, afterSequence };
    const options = { signal, reachedWithinMs: FOLLOW_REACHED_WITHIN_MS, trace };
    try {
      for await (const { event } of callServerStream(client, methods.followGuest, request, options)) {
        if (event !== undefined) yield event;
      }
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
    }
  }

  /** Ends all connections; running calls end with CANCELLED. */
  close(): void {
    for (const { client } of this.#channels.values()) client.close();
    this.#channels.clear();
  }

  async #call<Request, Response>(
    hostId: HostId,
    method: MethodDefinition<Request, Response>,
    request: Request,
    call: AgentCall,
  ): Promise<Response> {
    return this.#clock.time(method.path.split("/").at(-1) ?? "", async () => {
      const record = await this.#recordOf(hostId);
      checkKnown(record, method.path);
      return callUnary(this.#clientOf(hostId, record), method, request, {
        timeoutMs: call.deadlineMs,
        signal: call.signal,
        trace: call.trace,
      });
    });
  }

  async #recordOf(hostId: HostId): Promise<HostRecord> {
    const record = this.#hosts.lastKnown(hostId) ?? (await this.#hosts.get(hostId));
    if (record !== null) return record;
    throw new SwitchoverError("UNAVAILABLE", `No agent of host ${hostId} is known.`, {
      reason: "HOST_UNKNOWN",
      metadata: { host_id: hostId },
    });
  }

  #clientOf(hostId: HostId, record: HostRecord): Client {
    const open = this.#channels.get(hostId);
    if (open?.target === record.target) return open.client;
    open?.client.close();
    // The runner repeats what must be repeated, by its own clock and limits.
    const client = openChannel(record.target, {
      retriedServices: [],
      security: this.#security,
      // Whatever the registry says: of this host, and of no other one.
      peer: { roles: ["agent"], name: hostId },
    });
    this.#channels.set(hostId, { target: record.target, client });
    return client;
  }
}

/** An agent gets no command that it does not know; a plain word is better than what gRPC makes of it there. */
function checkKnown({ hostId, version, capabilities }: HostRecord, path: string): void {
  const capability = rpcCapability(path.split("/").at(-1) ?? "");
  if (knownCapabilities(capabilities).includes(capability)) return;
  const sentence = `The agent of host ${hostId} (version ${version}) does not know ${capability}.`;
  throw new SwitchoverError("UNIMPLEMENTED", sentence, {
    reason: "CAPABILITY_MISSING",
    metadata: { host_id: hostId, version, capabilities: capability },
  });
}
