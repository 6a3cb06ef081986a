import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type {
  ArmSourceRequest,
  ArmSourceResponse,
  BeginTransferRequest,
  BeginTransferResponse,
  DeliverHandOffRequest,
  DeliverHandOffResponse,
  GetHandOffRequest,
  GetHandOffResponse,
  PreflightRequest,
  PreflightResponse,
  PrepareDestinationRequest,
  PrepareDestinationResponse,
  ReleaseSourceRequest,
  ReleaseSourceResponse,
  SwitchToPostCopyRequest,
  SwitchToPostCopyResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";

/** The bounds of one call: DEADLINE_EXCEEDED after `deadlineMs`, CANCELLED with the signal. */
export interface AgentCall {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/**
 * HostAgentService on any host, by host id; an implementation finds the host's address and keeps the connections.
 *
 * It retries nothing: the runner does. Failures are SwitchoverErrors with the agent's code and reason; UNAVAILABLE
 * where the agent cannot be reached or its host is unknown by now.
 */
export interface AgentPort {
  preflight(hostId: HostId, request: PreflightRequest, call: AgentCall): Promise<PreflightResponse>;
  prepareDestination(
    hostId: HostId,
    request: PrepareDestinationRequest,
    call: AgentCall,
  ): Promise<PrepareDestinationResponse>;
  armSource(hostId: HostId, request: ArmSourceRequest, call: AgentCall): Promise<ArmSourceResponse>;
  beginTransfer(
    hostId: HostId,
    request: BeginTransferRequest,
    call: AgentCall,
  ): Promise<BeginTransferResponse>;
  switchToPostCopy(
    hostId: HostId,
    request: SwitchToPostCopyRequest,
    call: AgentCall,
  ): Promise<SwitchToPostCopyResponse>;
  getHandOff(hostId: HostId, request: GetHandOffRequest, call: AgentCall): Promise<GetHandOffResponse>;
  deliverHandOff(
    hostId: HostId,
    request: DeliverHandOffRequest,
    call: AgentCall,
  ): Promise<DeliverHandOffResponse>;
  releaseSource(
    hostId: HostId,
    request: ReleaseSourceRequest,
    call: AgentCall,
  ): Promise<ReleaseSourceResponse>;
  /**
   * FollowGuest: what the agent publishes about the migration from `afterSequence` + 1 on, in order, without gaps.
   * Ends with the signal; throws UNAVAILABLE where the stream breaks. No deadline: it is open as long as the
   * migration.
   */
  follow(
    hostId: HostId,
    guestId: GuestId,
    migrationId: MigrationId,
    afterSequence: bigint,
    signal: AbortSignal,
  ): AsyncIterable<FeedEvent>;
}
