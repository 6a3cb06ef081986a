import type { Client } from "@grpc/grpc-js";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import {
  type AbortDestinationResponse,
  type AttachNicRequest,
  type AttachNicResponse,
  type CancelTransferResponse,
  type DetachNicRequest,
  type DetachNicResponse,
  type HandBackResponse,
  HostAgentServiceService as methods,
  type Orphan,
  type RemoveOrphansRequest,
  type ReportCpuStateRequest,
  type ReportCpuStateResponse,
  type StartCpusRequest,
  type StartCpusResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { openChannel } from "../grpc/channel.ts";
import { callUnary } from "../grpc/unary.ts";
import type { Security } from "../tls/security.ts";

/** Removing a device takes the kernel up to tens of milliseconds, and a host may have left a thousand. */
const CALL_TIMEOUT_MS = 60_000;

/** What an agent admits from whoever drives a migration. */
export interface FencedRequest {
  readonly fence: Fence;
  readonly guestId: string;
  readonly instanceId: string;
  readonly migrationId: string;
}

/** What switchoverctl asks of one host's agent; throws SwitchoverError. */
export class AgentClient {
  readonly #client: Client;

  constructor(target: string, security: Security) {
    this.#client = openChannel(target, { retriedServices: [], security, peer: { roles: ["agent"] } });
  }

  async listOrphans(): Promise<readonly Orphan[]> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return (await callUnary(this.#client, methods.listOrphans, {}, options)).orphans;
  }

  async removeOrphans(request: RemoveOrphansRequest): Promise<readonly Orphan[]> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return (await callUnary(this.#client, methods.removeOrphans, request, options)).orphans;
  }

  attachNic(request: AttachNicRequest): Promise<AttachNicResponse> {
    return callUnary(this.#client, methods.attachNic, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  detachNic(request: DetachNicRequest): Promise<DetachNicResponse> {
    return callUnary(this.#client, methods.detachNic, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  cancelTransfer(request: FencedRequest): Promise<CancelTransferResponse> {
    return callUnary(this.#client, methods.cancelTransfer, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  abortDestination(request: FencedRequest): Promise<AbortDestinationResponse> {
    return callUnary(this.#client, methods.abortDestination, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  handBack(request: FencedRequest): Promise<HandBackResponse> {
    return callUnary(this.#client, methods.handBack, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  startCpus(request: StartCpusRequest): Promise<StartCpusResponse> {
    return callUnary(this.#client, methods.startCpus, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  reportCpuState(request: ReportCpuStateRequest): Promise<ReportCpuStateResponse> {
    return callUnary(this.#client, methods.reportCpuState, request, { timeoutMs: CALL_TIMEOUT_MS });
  }

  close(): void {
    this.#client.close();
  }
}
