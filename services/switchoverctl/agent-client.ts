import type { Client } from "@grpc/grpc-js";
import {
  HostAgentServiceService as methods,
  type Orphan,
  type RemoveOrphansRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { openChannel } from "../grpc/channel.ts";
import { callUnary } from "../grpc/unary.ts";

/** Removing a device takes the kernel up to tens of milliseconds, and a host may have left a thousand. */
const CALL_TIMEOUT_MS = 60_000;

/** What switchoverctl asks of one host's agent; throws SwitchoverError. */
export class AgentClient {
  readonly #client: Client;

  constructor(target: string) {
    this.#client = openChannel(target, { retriedServices: [] });
  }

  async listOrphans(): Promise<readonly Orphan[]> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return (await callUnary(this.#client, methods.listOrphans, {}, options)).orphans;
  }

  async removeOrphans(request: RemoveOrphansRequest): Promise<readonly Orphan[]> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return (await callUnary(this.#client, methods.removeOrphans, request, options)).orphans;
  }

  close(): void {
    this.#client.close();
  }
}
