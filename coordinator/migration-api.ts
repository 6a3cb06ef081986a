import { SwitchoverError } from "../proto/error.ts";
import type { Migration, MigrationSpec } from "../proto/gen/switchover/v1/migration.ts";
import type {
  CancelMigrationRequest,
  CancelMigrationResponse,
  GetMigrationRequest,
  GetMigrationResponse,
  MigrationServicePauseMigrationRequest,
  MigrationServicePauseMigrationResponse,
  MigrationServiceRecoverMigrationRequest,
  MigrationServiceRecoverMigrationResponse,
  MigrationServiceSwitchToPostCopyRequest,
  MigrationServiceSwitchToPostCopyResponse,
  ResolveMigrationRequest,
  ResolveMigrationResponse,
  StartMigrationRequest,
  StartMigrationResponse,
  WatchMigrationRequest,
  WatchMigrationResponse,
} from "../proto/gen/switchover/v1/migration_service.ts";
import { type GuestId, type HostId, type MigrationId, parseMigrationId } from "../proto/ids.ts";
import type { AdmissionPort } from "./admission/admission-port.ts";
import { claimedInLine, withQueuePlace } from "./admission/queue-place.ts";
import { answerWithin } from "./answer-within.ts";
import type { Clock } from "./clock.ts";
import type { DrainingHosts } from "./drain/draining-hosts.ts";
import { hostUnknown } from "./host-unknown.ts";
import { intervene, migrationUnknown } from "./interventions.ts";
import { type Ask, CANCEL, PAUSE, RECOVER, SWITCH_TO_POST_COPY } from "./migration/asks.ts";
import type { Asked, CompleteState, Side } from "./migration/complete-state.ts";
import { parseStartMigration } from "./migration-request.ts";
import { watchMigration } from "./migration-watch.ts";
import { compareAndSet } from "./record/compare-and-set.ts";
import { earlierMigration } from "./record/earlier-migration.ts";
import { claimGuest, type MigrationRequest } from "./record/guest-record.ts";
import { checkMoveBudget, type MoveBudget } from "./record/move-budget.ts";
import type { RecordStore, StoredRecord } from "./record/record-store.ts";
import { checkCapabilities } from "./required-capabilities.ts";
import { checkResolution, parseResolution } from "./resolution-request.ts";
import type { AgentPort } from "./runner/agent-port.ts";
import type { HostPort } from "./runner/host-port.ts";
import type { MigrationRunner } from "./runner/migration-runner.ts";
import { validateStart } from "./validate-start.ts";

/** All that the API needs from outside. */
export interface MigrationApiPorts {
  readonly store: RecordStore;
  readonly hosts: HostPort;
  readonly agents: Pick<AgentPort, "preflight">;
  readonly clock: Clock;
  /** In [0, 1): keeps apart the ids of migrations asked for in one millisecond. */
  readonly random: () => number;
  readonly runner: MigrationRunner;
  readonly admission: AdmissionPort;
  readonly draining: Pick<DrainingHosts, "checkDestination">;
  /** Null: a guest may move as often as it is asked to. */
  readonly moveBudget: MoveBudget | null;
}

/** No caller waits longer for a store that is away. */
const ANSWER_WITHIN_MS = 1_900;

/** Attempts of one claim in a row, against other callers that want the same guest. */
const CLAIM_ATTEMPTS = 8;

/**
 * MigrationService, without its transport: what a control plane may ask of any coordinator. Every input is checked
 * before anything is changed; failures are SwitchoverErrors.
 */
export class MigrationApi {
  readonly #ports: MigrationApiPorts;

  constructor(ports: MigrationApiPorts) {
    this.#ports = ports;
  }

  /**
   * Claims the guest and has its migration driven here; returns once the claim is stored. Idempotent by request id:
   * ALREADY_EXISTS / REQUEST_REUSED for other content, FAILED_PRECONDITION / GUEST_BUSY while another migration of
   * the guest has not ended, NOT_FOUND / HOST_UNKNOWN for a host without an agent,
   * FAILED_PRECONDITION / CAPABILITY_MISSING for one whose agent does not know what the migration may need,
   * / HOST_DRAINING for a destination that is to be empty,
   * RESOURCE_EXHAUSTED / QUEUE_FULL where too many wait already, / MOVE_BUDGET for a guest that moved too often lately.
   * It waits in PENDING where a limit is reached. With `validate_only` all of that, and what both agents' preflight
   * refuses, is told and nothing is stored or changed. The migration is in the trace (well-formed), and was asked for by
   * the one, that its request came with first.
   */
  async startMigration(asked: StartMigrationRequest, by: Asked = {}): Promise<StartMigrationResponse> {
    const request = { ...parseStartMigration(asked), ...by };
    return this.#inTime(asked.validateOnly ? this.#validate(request) : this.#start(request));
  }

  async #validate(request: MigrationRequest): Promise<StartMigrationResponse> {
    const { migration, refusals } = await validateStart(this.#ports, request);
    return { migration: migration && this.#shown(migration), refusals };
  }

  async #start(request: MigrationRequest): Promise<StartMigrationResponse> {
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt += 1) {
      const found = await this.#ports.store.get(request.guestId);
      const migration = await this.#claim(request, found);
      if (migration !== null) return { migration: this.#shown(migration), refusals: [] };
    }
    throw new SwitchoverError("ABORTED", `Others claim guest ${request.guestId} again and again.`, {
      reason: "REVISION_CONFLICT",
      field: "spec.guest_id",
    });
  }

  /** Null where somebody else's write was first, so that the record is to be read again. */
  async #claim(request: MigrationRequest, found: StoredRecord | null): Promise<Migration | null> {
    const { admission, clock, random, runner, store } = this.#ports;
    const claim = claimGuest(found?.record ?? null, request, BigInt(clock.unixUs()), random());
    switch (claim.t) {
      case "refused":
        throw claim.error;
      case "already":
        // Whoever stored the claim may have died before it took the migration up.
        if (found !== null) runner.take(found);
        return claim.state.migration;
      case "earlier":
        return earlierMigration(store, request, claim.migrationId);
      case "claimed": {
        checkMoveBudget(found?.record ?? null, this.#ports.moveBudget, BigInt(clock.unixUs()));
        await this.#checkHosts(request);
        const place = admission.foretell(request);
        // The record is the last migration's only home until that is archived.
        const over = found === null ? null : await runner.finish(found);
        if (over?.revision !== found?.revision) return null;
        const record = place === null ? claim.record : claimedInLine(claim.record, place);
        const written = await compareAndSet(store, record, over);
        if (written.t === "overtaken") return null;
        runner.take(written.stored, "asked here");
        const migration = written.stored.record.migration?.migration ?? null;
        // Until the line has been looked at anew, which is soon.
        return migration === null || place === null ? migration : { ...migration, queuePlace: place };
      }
    }
  }

  async #checkHosts({ spec }: MigrationRequest): Promise<void> {
    await this.#checkHost(spec, "source", spec.sourceHostId as HostId);
    await this.#checkHost(spec, "destination", spec.destinationHostId as HostId);
    this.#ports.draining.checkDestination(spec.destinationHostId as HostId, "spec.destination_host_id");
  }

  async #checkHost(spec: MigrationSpec, side: Side, hostId: HostId): Promise<void> {
    const field = `spec.${side}_host_id`;
    const host = await this.#ports.hosts.get(hostId);
    if (host === null) throw hostUnknown(hostId, field);
    checkCapabilities(spec, side, host, field);
  }

  /** The migration as it stands, ended ones too; NOT_FOUND / MIGRATION_UNKNOWN where there is none. */
  async getMigration(asked: GetMigrationRequest): Promise<GetMigrationResponse> {
    const { migrationId, guestId } = parseMigrationId(asked.migrationId, "migration_id");
    return { migration: await this.#inTime(this.#find(guestId, migrationId)) };
  }

  /** Asks that the guest stays where it is. FAILED_PRECONDITION / TOO_LATE where that is known to be so. */
  async cancelMigration({ migrationId }: CancelMigrationRequest): Promise<CancelMigrationResponse> {
    return { migration: await this.#intervene(migrationId, () => CANCEL) };
  }

  /** Asks for the CPUs to move now. FAILED_PRECONDITION / NOT_POST_COPY where the mode is another. */
  async switchToPostCopy({
    migrationId,
  }: MigrationServiceSwitchToPostCopyRequest): Promise<MigrationServiceSwitchToPostCopyResponse> {
    return { migration: await this.#intervene(migrationId, () => SWITCH_TO_POST_COPY) };
  }

  /** Has the post-copy transfer paused until it is to be recovered. FAILED_PRECONDITION / NOT_POST_COPY without one. */
  async pauseMigration({
    migrationId,
  }: MigrationServicePauseMigrationRequest): Promise<MigrationServicePauseMigrationResponse> {
    return { migration: await this.#intervene(migrationId, () => PAUSE) };
  }

  /** Has a paused post-copy transfer recovered now. FAILED_PRECONDITION / NOT_PAUSED where none was paused. */
  async recoverMigration({
    migrationId,
  }: MigrationServiceRecoverMigrationRequest): Promise<MigrationServiceRecoverMigrationResponse> {
    return { migration: await this.#intervene(migrationId, () => RECOVER) };
  }

  /**
   * Takes an operator's statements. INVALID_ARGUMENT for hosts without a part in the migration, and for a dead source
   * that is to run the guest; FAILED_PRECONDITION / NOT_AMBIGUOUS for a resolution where nothing waits for one.
   */
  async resolveMigration(asked: ResolveMigrationRequest): Promise<ResolveMigrationResponse> {
    checkResolution(asked);
    return { migration: await this.#intervene(asked.migrationId, (state) => parseResolution(asked, state)) };
  }

  async #intervene(migrationId: string, askOf: (state: CompleteState) => Ask): Promise<Migration> {
    return this.#shown(await this.#inTime(intervene(this.#ports, migrationId, askOf)));
  }

  #inTime<T>(work: Promise<T>): Promise<T> {
    return answerWithin(this.#ports.clock, ANSWER_WITHIN_MS, work);
  }

  /** With its place in line, while it waits for its turn. */
  #shown(migration: Migration): Migration {
    return withQueuePlace(migration, this.#ports.admission);
  }

  async #find(guestId: GuestId, migrationId: MigrationId): Promise<Migration> {
    return this.#shown(await this.#findAsRecorded(guestId, migrationId));
  }

  async #findAsRecorded(guestId: GuestId, migrationId: MigrationId): Promise<Migration> {
    const driven = this.#ports.runner.current(guestId, migrationId);
    if (driven !== null) return driven;
    const stored = await this.#ports.store.get(guestId);
    const held = stored?.record.migration?.migration;
    if (held?.migrationId === migrationId) return held;
    const archived = await this.#ports.store.readArchived(migrationId);
    if (archived?.migration !== undefined) return archived.migration;
    throw migrationUnknown(migrationId);
  }

  /**
   * The migration as it stands, then after every change, whichever coordinator drives it, as far as that is newer than
   * the revision that the reader has; ends with the migration's end, which is always sent, or with the signal. A slow
   * reader misses states in between, never the last.
   */
  async *watchMigration(
    asked: WatchMigrationRequest,
    signal: AbortSignal,
  ): AsyncIterable<WatchMigrationResponse> {
    const { migrationId, guestId } = parseMigrationId(asked.migrationId, "migration_id");
    const find = () => this.#find(guestId, migrationId);
    const states = watchMigration(this.#ports, guestId, migrationId, find, asked.afterRevision, signal);
    for await (const migration of states) {
      yield { migration };
    }
  }
}
