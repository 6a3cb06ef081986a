import { SwitchoverError } from "../proto/error.ts";
import type * as wire from "../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId, parseMigrationId } from "../proto/ids.ts";
import type { AgentCensus } from "./agent-meter.ts";
import { abortDestination } from "./call/abort-destination.ts";
import { adoptGuest } from "./call/adopt-guest.ts";
import { armSource } from "./call/arm-source.ts";
import { attachNic } from "./call/attach-nic.ts";
import { beginTransfer } from "./call/begin-transfer.ts";
import { cancelTransfer } from "./call/cancel-transfer.ts";
import { startCpus, stopCpus } from "./call/cpus.ts";
import { detachNic } from "./call/detach-nic.ts";
import { handBack } from "./call/hand-back.ts";
import { deliverHandOff, getHandOff } from "./call/hand-off.ts";
import { listOrphans } from "./call/list-orphans.ts";
import { pauseMigration } from "./call/pause-migration.ts";
import { findExternal, permitStart } from "./call/permit-start.ts";
import { preflight } from "./call/preflight.ts";
import { prepareDestination } from "./call/prepare-destination.ts";
import { prepareNics } from "./call/prepare-nics.ts";
import { readClock } from "./call/read-clock.ts";
import { recoverMigration } from "./call/recover-migration.ts";
import { releaseSource } from "./call/release-source.ts";
import { removeOrphans } from "./call/remove-orphans.ts";
import { reportCpuState } from "./call/report-cpu-state.ts";
import { resumeSource } from "./call/resume-source.ts";
import { switchToPostCopy } from "./call/switch-to-post-copy.ts";
import { DEVICE_TYPE_FIELDS } from "./device/device-types.ts";
import { DriftGuard } from "./drift/drift-guard.ts";
import { Host } from "./host.ts";
import type { HostAgentPorts } from "./host-agent-ports.ts";
import { Instance } from "./instance/instance.ts";
import { OrphanReaper } from "./orphan/orphan-reaper.ts";
import { restoreInstances } from "./restore-instances.ts";
import { takeCensus } from "./take-census.ts";

/**
 * HostAgentService without its wire: one method a call, each in its file under `call/`.
 *
 * Calls that change one guest run one after another in the order they came; those of different guests do not wait
 * for each other. What happens at switchover waits for no call: it is the guests' runners' own.
 */
export class HostAgent {
  readonly #host: Host;
  readonly #driftGuard: DriftGuard | null;
  readonly #orphanReaper: OrphanReaper | null;
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Resolves when every guest that this agent left behind is under its gate again, or seen gone. */
  readonly restored: Promise<void>;

  /** Begins at once to bring back the guests that its journals know. */
  constructor(ports: HostAgentPorts) {
    this.#host = new Host(ports);
    const { clock, kernelChanges: changes, log } = ports;
    const { instances } = this.#host;
    this.#driftGuard = changes === undefined ? null : new DriftGuard({ changes, instances, clock, log });
    this.restored = restoreInstances(this.#host);
    // Every guest of the journals is known from here on.
    const { removeOrphansAfterMs: afterMs } = ports;
    const { orphans } = this.#host;
    this.#orphanReaper = afterMs === undefined ? null : new OrphanReaper({ orphans, afterMs, clock, log });
  }

  /** Resolves with how many events the feed still lacks, once that is none or after `timeoutMs`. */
  feedDrained(timeoutMs: number): Promise<number> {
    return this.#host.feed.drain(timeoutMs);
  }

  /** What there is on this host now. */
  census(): AgentCensus {
    return takeCensus(this.#host);
  }

  /** Lets go of all VMMs and journals. Guests keep running, registrations stay. */
  close(): void {
    this.#driftGuard?.close();
    this.#orphanReaper?.close();
    this.#host.close();
  }

  async describe(_request: wire.DescribeRequest): Promise<wire.DescribeResponse> {
    const { hostId, version, kernelRelease, migrationAddress } = this.#host.ports;
    return {
      hostId,
      version,
      kernelRelease,
      migrationAddress,
      deviceTypes: [...DEVICE_TYPE_FIELDS],
      guestIds: [...this.#host.instances.guestIds()],
    };
  }

  async readClock(request: wire.ReadClockRequest): Promise<wire.ReadClockResponse> {
    return readClock(this.#host, request);
  }

  async getGuest(request: wire.GetGuestRequest): Promise<wire.GetGuestResponse> {
    const guestId = parseGuestId(request.guestId, "guest_id");
    const instances = this.#host.instances.ofGuest(guestId);
    if (instances.length === 0) {
      throw new SwitchoverError("NOT_FOUND", `Guest ${guestId} has no instance on this host.`, {
        reason: "GUEST_UNKNOWN",
        field: "guest_id",
      });
    }
    return {
      instances: instances.filter(({ adopted }) => adopted !== null).map((instance) => instance.message()),
    };
  }

  preflight(request: wire.PreflightRequest): Promise<wire.PreflightResponse> {
    return preflight(this.#host, request);
  }

  async getHandOff(request: wire.GetHandOffRequest): Promise<wire.GetHandOffResponse> {
    return getHandOff(this.#host, request);
  }

  async deliverHandOff(request: wire.DeliverHandOffRequest): Promise<wire.DeliverHandOffResponse> {
    return deliverHandOff(this.#host, request);
  }

  async *followGuest(
    request: wire.FollowGuestRequest,
    signal: AbortSignal,
  ): AsyncIterable<wire.FollowGuestResponse> {
    const guestId = parseGuestId(request.guestId, "guest_id");
    if (request.migrationId !== "") parseMigrationId(request.migrationId, "migration_id");
    const { feed } = this.#host;
    for await (const event of feed.follow(guestId, request.migrationId, request.afterSequence, signal)) {
      yield { event };
    }
  }

  prepareNics(request: wire.PrepareNicsRequest, signal?: AbortSignal): Promise<wire.PrepareNicsResponse> {
    return this.#inTurn(request, async () => prepareNics(this.#host, request), signal);
  }

  attachNic(request: wire.AttachNicRequest, signal?: AbortSignal): Promise<wire.AttachNicResponse> {
    return this.#inTurn(request, async () => attachNic(this.#host, request), signal);
  }

  detachNic(request: wire.DetachNicRequest, signal?: AbortSignal): Promise<wire.DetachNicResponse> {
    return this.#inTurn(request, async () => detachNic(this.#host, request), signal);
  }

  adoptGuest(request: wire.AdoptGuestRequest, signal?: AbortSignal): Promise<wire.AdoptGuestResponse> {
    return this.#inTurn(request, () => adoptGuest(this.#host, request), signal);
  }

  prepareDestination(
    request: wire.PrepareDestinationRequest,
    signal?: AbortSignal,
  ): Promise<wire.PrepareDestinationResponse> {
    return this.#inTurn(request, () => prepareDestination(this.#host, request), signal);
  }

  armSource(request: wire.ArmSourceRequest, signal?: AbortSignal): Promise<wire.ArmSourceResponse> {
    return this.#inTurn(request, () => armSource(this.#host, request), signal);
  }

  beginTransfer(
    request: wire.BeginTransferRequest,
    signal?: AbortSignal,
  ): Promise<wire.BeginTransferResponse> {
    return this.#inTurn(request, () => beginTransfer(this.#host, request), signal);
  }

  switchToPostCopy(
    request: wire.SwitchToPostCopyRequest,
    signal?: AbortSignal,
  ): Promise<wire.SwitchToPostCopyResponse> {
    return this.#inTurn(request, () => switchToPostCopy(this.#host, request), signal);
  }

  releaseSource(
    request: wire.ReleaseSourceRequest,
    signal?: AbortSignal,
  ): Promise<wire.ReleaseSourceResponse> {
    return this.#inTurn(request, () => releaseSource(this.#host, request), signal);
  }

  cancelTransfer(
    request: wire.CancelTransferRequest,
    signal?: AbortSignal,
  ): Promise<wire.CancelTransferResponse> {
    return this.#inTurn(request, () => cancelTransfer(this.#host, request), signal);
  }

  abortDestination(
    request: wire.AbortDestinationRequest,
    signal?: AbortSignal,
  ): Promise<wire.AbortDestinationResponse> {
    return this.#inTurn(request, () => abortDestination(this.#host, request), signal);
  }

  handBack(request: wire.HandBackRequest, signal?: AbortSignal): Promise<wire.HandBackResponse> {
    return this.#inTurn(request, () => handBack(this.#host, request), signal);
  }

  resumeSource(request: wire.ResumeSourceRequest, signal?: AbortSignal): Promise<wire.ResumeSourceResponse> {
    return this.#inTurn(request, () => resumeSource(this.#host, request), signal);
  }

  pauseMigration(
    request: wire.PauseMigrationRequest,
    signal?: AbortSignal,
  ): Promise<wire.PauseMigrationResponse> {
    return this.#inTurn(request, () => pauseMigration(this.#host, request), signal);
  }

  recoverMigration(
    request: wire.RecoverMigrationRequest,
    signal?: AbortSignal,
  ): Promise<wire.RecoverMigrationResponse> {
    return this.#inTurn(request, () => recoverMigration(this.#host, request), signal);
  }

  async listOrphans(request: wire.ListOrphansRequest): Promise<wire.ListOrphansResponse> {
    return listOrphans(this.#host, request);
  }

  removeOrphans(request: wire.RemoveOrphansRequest): Promise<wire.RemoveOrphansResponse> {
    return removeOrphans(this.#host, request);
  }

  /** What an owner waits for may be what the calls behind it bring: it holds up none of them. */
  async startCpus(request: wire.StartCpusRequest, signal?: AbortSignal): Promise<wire.StartCpusResponse> {
    const external = findExternal(this.#host, request);
    if (external !== undefined) return permitStart(this.#host, external, request, signal);
    const answer = await this.#inTurn<Instance | wire.StartCpusResponse>(
      request,
      // It may have been adopted by the calls before it.
      async () => findExternal(this.#host, request) ?? startCpus(this.#host, request),
      signal,
    );
    return answer instanceof Instance ? permitStart(this.#host, answer, request, signal) : answer;
  }

  stopCpus(request: wire.StopCpusRequest, signal?: AbortSignal): Promise<wire.StopCpusResponse> {
    return this.#inTurn(request, () => stopCpus(this.#host, request), signal);
  }

  /** Comes between other calls, as what a VMM says by QMP does: they may wait for it. */
  reportCpuState(request: wire.ReportCpuStateRequest): Promise<wire.ReportCpuStateResponse> {
    return reportCpuState(this.#host, request);
  }

  /** A call whose caller has left before its turn came is not begun. */
  #inTurn<Response>(
    request: { readonly guestId: string },
    call: () => Promise<Response>,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { guestId } = request;
    const begin = async (): Promise<Response> => {
      signal?.throwIfAborted();
      return call();
    };
    const answer = (this.#tails.get(guestId) ?? Promise.resolve()).then(begin, begin);
    const tail = answer.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(guestId, tail);
    void tail.then(() => {
      if (this.#tails.get(guestId) === tail) this.#tails.delete(guestId);
    });
    return answer;
  }
}
