import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type {
  AbortDestinationRequest,
  AbortDestinationResponse,
  ArmSourceRequest,
  ArmSourceResponse,
  BeginTransferRequest,
  BeginTransferResponse,
  CancelTransferRequest,
  CancelTransferResponse,
  DeliverHandOffRequest,
  DeliverHandOffResponse,
  GetHandOffRequest,
  GetHandOffResponse,
  HandBackRequest,
  HandBackResponse,
  PauseMigrationRequest,
  PauseMigrationResponse,
  PreflightRequest,
  PreflightResponse,
  PrepareDestinationRequest,
  PrepareDestinationResponse,
  ReadClockRequest,
  ReadClockResponse,
  RecoverMigrationRequest,
  RecoverMigrationResponse,
  ReleaseSourceRequest,
  ReleaseSourceResponse,
  ResumeSourceRequest,
  ResumeSourceResponse,
  SwitchToPostCopyRequest,
  SwitchToPostCopyResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";

/** The bounds of one call: DEADLINE_EXCEEDED after `deadlineMs`, CANCELLED with the signal. */
export interface AgentCall {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Absent where the call is about no migration. */
  readonly trace?: GivenTrace;
}

/**
 * HostAgentService on any host, by host id; an implementation finds the host's address and keeps the connections.
 *
 * It retries nothing: the runner does. Failures are SwitchoverErrors with the agent's code and reason; UNAVAILABLE
 * where the agent cannot be reached or its host is unknown by now.
 */
export interface AgentPort {
  readClock(hostId: HostId, request: ReadClockRequest, call: AgentCall): Promise<ReadClockResponse>;
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
  cancelTransfer(
    hostId: HostId,
    request: CancelTransferRequest,
    call: AgentCall,
  ): Promise<CancelTransferResponse>;
  abortDestination(
    hostId: HostId,
    request: AbortDestinationRequest,
    call: AgentCall,
  ): Promise<AbortDestinationResponse>;
  handBack(hostId: HostId, request: HandBackRequest, call: AgentCall): Promise<HandBackResponse>;
  resumeSource(hostId: HostId, request: ResumeSourceRequest, call: AgentCall): Promise<ResumeSourceResponse>;
  pauseMigration(
    hostId: HostId,
    request: PauseMigrationRequest,
    call: AgentCall,
  ): Promise<PauseMigrationResponse>;
  recoverMigration(
    hostId: HostId,
    request: RecoverMigrationRequest,
    call: AgentCall,
  ): Promise<RecoverMigrationResponse>;
  /**
   * FollowGuest: what the agent publishes about the migration from `afterSequence` + 1 on, in order, without gaps.
   * Ends with the signal; throws UNAVAILABLE where the stream breaks, and where the agent is not reached within 2 s. No
   * deadline: it is open as long as the migration.
   */
  follow(
    hostId: HostId,
    guestId: GuestId,
    migrationId: MigrationId,
    afterSequence: bigint,
    signal: AbortSignal,
    trace?: GivenTrace,
  ): AsyncIterable<FeedEvent>;
}
