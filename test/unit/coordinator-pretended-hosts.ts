import type { AgentPort } from "../../coordinator/runner/agent-port.ts";
import { compareFences, FENCE_ZERO } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { AnnouncementsEndedBy, type FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import {
  Applied,
  CpuState,
  GuestInstance,
  type HandOff,
  MigrationRole,
} from "../../proto/gen/switchover/v1/guest.ts";
import {
  type AbortDestinationRequest,
  type ArmSourceRequest,
  type BeginTransferRequest,
  type CancelTransferRequest,
  type CancelTransferResponse,
  type DeliverHandOffRequest,
  type GetHandOffRequest,
  HandBackAnswer,
  type HandBackRequest,
  type PauseMigrationRequest,
  type PreflightRequest,
  type PreflightResponse,
  type PrepareDestinationRequest,
  type ReadClockResponse,
  type RecoverMigrationRequest,
  type Refusal,
  type ReleaseSourceRequest,
  type ResumeSourceRequest,
  type SwitchToPostCopyRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import type { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { progressOf } from "./coordinator-story.ts";

type Happening = NonNullable<FeedEvent["event"]>;

interface PretendedHost {
  readonly words: FeedEvent[];
  fence: Fence;
  reachable: boolean;
  /** Streams that were opened before a break are gone. */
  breaks: number;
}

const STOPPED_AT_US = 1_000n;

/**
 * Agents that do what agents do in a migration, at once and without a kernel: they refuse an overtaken fence, say
 * what happens, and remember it for those who follow. A source moves its CPUs when `moveCpus` is called, or as soon
 * as the transfer begins where `moves` says so.
 */
export class PretendedHosts implements AgentPort {
  readonly calls: string[] = [];
  moves: "at once" | "when told" = "at once";
  /** Whether the source's word reaches the destination by itself. */
  handOffs: "arrive" | "get lost" = "arrive";
  streams: "work" | "break at once" = "work";
  /** Calls that are answered, after the work was done, with this error instead. Taken once each. */
  readonly answersLost: string[] = [];
  /** What a host's preflight refuses. */
  readonly refuses = new Map<string, readonly Refusal[]>();
  /** NICs of a host's instances, where they matter. */
  readonly nics = new Map<string, readonly NicDefinition[]>();
  /** Calls that wait, once they were made, until `release`. */
  held: string | null = null;
  /** Called with every word, as the NATS feed would bring it. */
  onWord: (message: FeedEvent) => void = () => {};
  readonly #hosts = new Map<string, PretendedHost>();
  readonly #wakes = new Set<() => void>();
  #migrationId = "";
  #mode: MigrationMode = MigrationMode.LIVE;
  #sourceHostId = "";
  #destinationHostId = "";
  #handOff: HandOff | undefined;

  setReachable(hostId: string, reachable: boolean): void {
    this.#host(hostId).reachable = reachable;
    this.#wake();
  }

  /** As if the host had acted on a fence that nobody here knows. */
  setFence(hostId: string, fence: Fence): void {
    this.#host(hostId).fence = fence;
  }

  /** Lets the calls go that were held. */
  release(): void {
    this.held = null;
    this.#wake();
  }

  /** Breaks every open stream; they may be opened again. */
  breakStreams(): void {
    for (const host of this.#hosts.values()) host.breaks += 1;
    this.#wake();
  }

  async readClock(): Promise<ReadClockResponse> {
    return { receivedAtUnixUs: STOPPED_AT_US, answeredAtUnixUs: STOPPED_AT_US };
  }

  async preflight(hostId: HostId, request: PreflightRequest): Promise<PreflightResponse> {
    const host = this.#called("preflight", hostId, null);
    const isSource = request.role === MigrationRole.SOURCE;
    return {
      refusals: [...(this.refuses.get(hostId) ?? [])],
      instance: GuestInstance.fromPartial({
        guestId: request.guestId,
        instanceId: isSource ? "a1" : "b1",
        hostId,
        fence: host.fence,
        cpuState: isSource ? CpuState.RUNNING : CpuState.STOPPED,
        runState: isSource ? "running" : "inmigrate",
        role: request.role,
        nics: [...(this.nics.get(hostId) ?? [])],
      }),
    };
  }

  async prepareDestination(hostId: HostId, request: PrepareDestinationRequest) {
    this.#called("prepareDestination", hostId, request.fence);
    this.#migrationId = request.migrationId;
    this.#mode = request.mode;
    this.#destinationHostId = hostId;
    await this.#whileHeld("prepareDestination");
    this.#answer("prepareDestination");
    return { applied: Applied.CHANGED, incomingUri: "tcp:10.0.0.2:40123" };
  }

  async armSource(hostId: HostId, request: ArmSourceRequest) {
    this.#called("armSource", hostId, request.fence);
    this.#sourceHostId = hostId;
    this.#answer("armSource");
    return { applied: Applied.CHANGED, runState: "running" };
  }

  async beginTransfer(hostId: HostId, request: BeginTransferRequest) {
    this.#called("beginTransfer", hostId, request.fence);
    if (this.#wordsOf(hostId).length === 0) {
      this.#status(hostId, "active");
      this.progresses();
      if (this.#mode === MigrationMode.LIVE && this.moves === "at once") this.moveCpus();
    }
    this.#answer("beginTransfer");
    return { applied: Applied.CHANGED };
  }

  async switchToPostCopy(hostId: HostId, request: SwitchToPostCopyRequest) {
    this.#called("switchToPostCopy", hostId, request.fence);
    this.#status(hostId, "postcopy-active");
    this.#status(this.#destinationHostId, "postcopy-active");
    if (this.moves === "at once") this.moveCpus();
    return { applied: Applied.CHANGED };
  }

  async getHandOff(hostId: HostId, request: GetHandOffRequest) {
    this.#called("getHandOff", hostId, request.fence);
    return { handOff: this.#handOff };
  }

  async deliverHandOff(hostId: HostId, request: DeliverHandOffRequest) {
    this.#called("deliverHandOff", hostId, request.fence);
    this.#start();
    return { applied: Applied.CHANGED, takenOver: undefined };
  }

  async releaseSource(hostId: HostId, request: ReleaseSourceRequest) {
    this.#called("releaseSource", hostId, request.fence);
    return { applied: Applied.CHANGED };
  }

  async cancelTransfer(hostId: HostId, request: CancelTransferRequest): Promise<CancelTransferResponse> {
    this.#called("cancelTransfer", hostId, request.fence);
    await this.#whileHeld("cancelTransfer");
    if (this.#handOff !== undefined)
      return { answer: { $case: "tooLate", value: { handOff: this.#handOff } } };
    return { answer: { $case: "kept", value: { runState: "running", cpuState: CpuState.RUNNING } } };
  }

  async abortDestination(hostId: HostId, request: AbortDestinationRequest) {
    this.#called("abortDestination", hostId, request.fence);
    return { applied: Applied.CHANGED };
  }

  async handBack(hostId: HostId, request: HandBackRequest) {
    this.#called("handBack", hostId, request.fence);
    const started = this.#wordsOf(hostId).some(({ event }) => event?.$case === "cpusStarted");
    return { answer: started ? HandBackAnswer.TOO_LATE : HandBackAnswer.HANDED_BACK, vmmLost: false };
  }

  async resumeSource(hostId: HostId, request: ResumeSourceRequest) {
    this.#called("resumeSource", hostId, request.fence);
    return { applied: Applied.CHANGED, runState: "running" };
  }

  async pauseMigration(hostId: HostId, request: PauseMigrationRequest) {
    this.#called("pauseMigration", hostId, request.fence);
    for (const each of [this.#sourceHostId, this.#destinationHostId]) this.#status(each, "postcopy-paused");
    return { applied: Applied.CHANGED };
  }

  async recoverMigration(hostId: HostId, request: RecoverMigrationRequest) {
    this.#called("recoverMigration", hostId, request.fence);
    if (hostId === this.#destinationHostId) {
      return { applied: Applied.CHANGED, recoveryUri: "tcp:10.0.0.2:40999" };
    }
    for (const status of ["postcopy-recover", "postcopy-active"]) {
      for (const each of [this.#sourceHostId, this.#destinationHostId]) this.#status(each, status);
    }
    return { applied: Applied.CHANGED, recoveryUri: request.recoveryUri };
  }

  async *follow(
    hostId: HostId,
    _guestId: GuestId,
    migrationId: MigrationId,
    afterSequence: bigint,
    signal: AbortSignal,
  ): AsyncIterable<FeedEvent> {
    const host = this.#host(hostId);
    this.calls.push(`follow@${hostId}>${afterSequence}`);
    const wake = () => this.#wake();
    signal.addEventListener("abort", wake, { once: true });
    const { breaks } = host;
    for (let next = Number(afterSequence); !signal.aborted; ) {
      if (!host.reachable || host.breaks !== breaks || this.streams !== "work")
        throw this.#unavailable(hostId);
      const word = host.words.filter((message) => message.migrationId === migrationId)[next];
      if (word === undefined) {
        await new Promise<void>((resolve) => this.#wakes.add(resolve));
        continue;
      }
      next += 1;
      yield word;
    }
    signal.removeEventListener("abort", wake);
  }

  progresses(transferredBytes = 1_000_000n): void {
    const progress = progressOf({ transferredBytes });
    this.#say(this.#sourceHostId, { $case: "transferProgressed", value: { progress } });
  }

  /** QEMU's switchover at the source, and what the destination makes of it. */
  moveCpus(): void {
    const source = this.#sourceHostId;
    const at = STOPPED_AT_US;
    this.#say(source, { $case: "cpusStopped", value: { stoppedAtUnixUs: at, receivedAtUnixUs: at + 50n } });
    this.#say(source, { $case: "nicsDeregistered", value: { deregisteredAtUnixUs: at + 200n } });
    if (this.#mode === MigrationMode.LIVE) this.#status(source, "completed");
    this.#handOff = {
      migrationId: this.#migrationId,
      guestId: "web-7",
      sourceHostId: source,
      sourceInstanceId: "a1",
      destinationHostId: this.#destinationHostId,
      fence: this.#host(source).fence,
      runState: "running",
      stoppedAtUnixUs: at + 50n,
      deregisteredAtUnixUs: at + 200n,
      journaledAtUnixUs: at + 2_000n,
      nics: undefined,
    };
    if (this.handOffs === "arrive") {
      this.#say(source, { $case: "handedOff", value: { handOff: this.#handOff } });
      this.#start();
    } else {
      this.#sayReady();
      this.#say(this.#destinationHostId, { $case: "handOffAwaited", value: { waitedMs: 20 } });
    }
  }

  /** The source's word comes after all. */
  sayHandedOff(): void {
    this.#say(this.#sourceHostId, { $case: "handedOff", value: { handOff: this.#handOff } });
  }

  /** The last pages of post-copy arrive. */
  finishPages(): void {
    this.#status(this.#sourceHostId, "completed");
    this.#status(this.#destinationHostId, "completed");
  }

  #start(): void {
    const host = this.#destinationHostId;
    const at = STOPPED_AT_US;
    this.#sayReady();
    this.#say(host, { $case: "handOffReceived", value: { handOff: this.#handOff, route: 1 } });
    this.#say(host, {
      $case: "nicsRegistered",
      value: { registeredAtUnixUs: at + 3_100n, registrationSentAtUnixUs: at + 3_050n },
    });
    const value = { contSentAtUnixUs: at + 3_200n, resumedAtUnixUs: at + 3_300n };
    this.#say(host, { $case: "cpusStarted", value });
    this.#say(host, {
      $case: "announced",
      value: {
        round: 1,
        announcedAtUnixUs: at + 3_400n,
        endedBy: AnnouncementsEndedBy.SCHEDULE,
        firstFrames: [],
      },
    });
  }

  #sayReady(): void {
    const host = this.#destinationHostId;
    if (this.#wordsOf(host).some(({ event }) => event?.$case === "destinationReady")) return;
    if (this.#mode === MigrationMode.LIVE) this.#status(host, "completed");
    const readyAtUnixUs = STOPPED_AT_US + 3_000n;
    this.#say(host, { $case: "destinationReady", value: { runState: "paused", readyAtUnixUs } });
  }

  #status(hostId: string, status: string): void {
    this.#say(hostId, { $case: "transferStatusChanged", value: { status, error: "" } });
  }

  #say(hostId: string, event: Happening): void {
    const host = this.#host(hostId);
    const message: FeedEvent = {
      migrationId: this.#migrationId,
      guestId: "web-7",
      hostId,
      instanceId: hostId === this.#sourceHostId ? "a1" : "b1",
      fence: host.fence,
      sequence: BigInt(this.#wordsOf(hostId).length + 1),
      atUnixUs: STOPPED_AT_US + 3_050n,
      event,
    };
    host.words.push(message);
    this.onWord(message);
    this.#wake();
  }

  #wordsOf(hostId: string): FeedEvent[] {
    return this.#host(hostId).words.filter((message) => message.migrationId === this.#migrationId);
  }

  #called(name: string, hostId: string, fence: Fence | undefined | null): PretendedHost {
    this.calls.push(`${name}@${hostId}`);
    const host = this.#host(hostId);
    if (!host.reachable) throw this.#unavailable(hostId);
    if (fence === null) return host;
    const asked = fence ?? FENCE_ZERO;
    if (compareFences(asked, host.fence) < 0) {
      const { epoch, revision } = host.fence;
      const metadata = { newest_epoch: String(epoch), newest_revision: String(revision) };
      throw new SwitchoverError("ABORTED", "The command was overtaken.", { reason: "STALE_FENCE", metadata });
    }
    host.fence = asked;
    return host;
  }

  #answer(name: string): void {
    const index = this.answersLost.indexOf(name);
    if (index < 0) return;
    this.answersLost.splice(index, 1);
    throw new SwitchoverError("UNAVAILABLE", "The connection broke.", { reason: "UNREACHABLE" });
  }

  async #whileHeld(name: string): Promise<void> {
    while (this.held === name) await new Promise<void>((resolve) => this.#wakes.add(resolve));
  }

  #unavailable(hostId: string): SwitchoverError {
    return new SwitchoverError("UNAVAILABLE", `Host ${hostId} cannot be reached.`, { reason: "UNREACHABLE" });
  }

  #host(hostId: string): PretendedHost {
    const known = this.#hosts.get(hostId);
    if (known !== undefined) return known;
    const host: PretendedHost = { words: [], fence: FENCE_ZERO, reachable: true, breaks: 0 };
    this.#hosts.set(hostId, host);
    return host;
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }
}
