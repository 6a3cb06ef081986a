import type { HostAgentPorts } from "../../../agent/host-agent-ports.ts";
import type { AgentPort } from "../../../coordinator/runner/agent-port.ts";

export interface SeenFence {
  readonly epoch: bigint;
  readonly revision: bigint;
}

/** What is put around the real code to break one of its rules; nothing by default. */
export interface Breakage {
  readonly agentPorts: (ports: HostAgentPorts) => HostAgentPorts;
  readonly agentPort: (port: AgentPort) => AgentPort;
  /** A command as its agent gets it; `newest` is the newest fence that the instance has acted on. */
  readonly request: (request: unknown, newest: SeenFence | undefined) => unknown;
  /** How the kernel takes a registration: over whatever is there, or only where nothing is (NLM_F_EXCL, trap 1). */
  readonly registration: "replace" | "exclusive";
  /** What the control plane defines NICs with. */
  readonly entries: "sticky" | "plain";
}

export const UNBROKEN: Breakage = {
  agentPorts: (ports) => ports,
  agentPort: (port) => port,
  request: (request) => request,
  registration: "replace",
  entries: "sticky",
};
