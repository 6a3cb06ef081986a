import type { HostAgentPorts } from "../../../agent/host-agent-ports.ts";
import type { AgentPort } from "../../../coordinator/runner/agent-port.ts";

/** What is put around the real code to break one of its rules; nothing by default. */
export interface Breakage {
  agentPorts(ports: HostAgentPorts): HostAgentPorts;
  agentPort(port: AgentPort): AgentPort;
  /** A command as its agent gets it; `newest` is the newest fence that this host has acted on. */
  request(
    request: unknown,
    newest: { readonly epoch: bigint; readonly revision: bigint } | undefined,
  ): unknown;
}

export const UNBROKEN: Breakage = {
  agentPorts: (ports) => ports,
  agentPort: (port) => port,
  request: (request) => request,
};
