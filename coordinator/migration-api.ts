import { SwitchoverError } from "../proto/error.ts";
import type { Migration } from "../proto/gen/switchover/v1/migration.ts";
import type {
  GetMigrationRequest,
  GetMigrationResponse,
  StartMigrationRequest,
  StartMigrationResponse,
  WatchMigrationRequest,
  WatchMigrationResponse,
} from "../proto/gen/switchover/v1/migration_service.ts";
import { type GuestId, type HostId, type MigrationId, parseMigrationId } from "../proto/ids.ts";
import type { Clock } from "./clock.ts";
import { LatestValue } from "./latest-value.ts";
import { completeState } from "./migration/complete-state.ts";
import { isTerminal } from "./migration/phase-edges.ts";
import { parseStartMigration } from "./migration-request.ts";
import { compareAndSet } from "./record/compare-and-set.ts";
import { claimGuest, isSameSpec, type MigrationRequest, requestReused } from "./record/guest-record.ts";
import type { RecordStore, StoredRecord } from "./record/record-store.ts";
import type { HostPort } from "./runner/host-port.ts";
import type { MigrationRunner } from "./runner/migration-runner.ts";

/** All that the API needs from outside. */
export interface MigrationApiPorts {
  readonly store: RecordStore;
  readonly hosts: HostPort;
  readonly clock: Clock;
  /** In [0, 1): keeps apart the ids of migrations asked for in one millisecond. */
  readonly random: () => number;
  readonly runner: MigrationRunner;
}

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
   * the guest has not ended, NOT_FOUND / HOST_UNKNOWN for a host without an agent.
   */
  async startMigration(asked: StartMigrationRequest): Promise<StartMigrationResponse> {
    const request = parseStartMigration(asked);
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt += 1) {
      const found = await this.#ports.store.get(request.guestId);
      const migration = await this.#claim(request, found);
      if (migration !== null) return { migration };
    }
    throw new SwitchoverError("ABORTED", `Others claim guest ${request.guestId} again and again.`, {
      reason: "REVISION_CONFLICT",
      field: "spec.guest_id",
    });
  }

  /** Null where somebody else's write was first, so that the record is to be read again. */
  async #claim(request: MigrationRequest, found: StoredRecord | null): Promise<Migration | null> {
    const { clock, random, runner, store } = this.#ports;
    const claim = claimGuest(found?.record ?? null, request, BigInt(clock.unixUs()), random());
    switch (claim.t) {
      case "refused":
        throw claim.error;
      case "already":
        // Whoever stored the claim may have died before it took the migration up.
        if (found !== null) runner.take(found);
        return claim.state.migration;
      case "earlier":
        return this.#earlierMigration(request, claim.migrationId);
      case "claimed": {
        await this.#checkHosts(request);
        // The record is the last migration's only home until that is archived.
        const over = found === null ? null : await runner.finish(found);
        if (over?.revision !== found?.revision) return null;
        const written = await compareAndSet(store, claim.record, over);
        if (written.t === "overtaken") return null;
        runner.take(written.stored);
        return written.stored.record.migration?.migration ?? null;
      }
    }
  }

  async #earlierMigration(request: MigrationRequest, migrationId: MigrationId): Promise<Migration> {
    const archived = await this.#ports.store.readArchived(migrationId);
    const migration = archived === null ? null : completeState(archived).migration;
    if (migration === null || !isSameSpec(migration.spec, request.spec))
      throw requestReused(request.requestId);
    return migration;
  }

  async #checkHosts({ spec }: MigrationRequest): Promise<void> {
    await this.#checkHost(spec.sourceHostId as HostId, "spec.source_host_id");
    await this.#checkHost(spec.destinationHostId as HostId, "spec.destination_host_id");
  }

  async #checkHost(hostId: HostId, field: string): Promise<void> {
    if ((await this.#ports.hosts.get(hostId)) !== null) return;
    throw new SwitchoverError("NOT_FOUND", `No agent speaks for host ${hostId}.`, {
      reason: "HOST_UNKNOWN",
      field,
      metadata: { host_id: hostId },
    });
  }

  /** The migration as it stands, ended ones too; NOT_FOUND / MIGRATION_UNKNOWN where there is none. */
  async getMigration(asked: GetMigrationRequest): Promise<GetMigrationResponse> {
    const { migrationId, guestId } = parseMigrationId(asked.migrationId, "migration_id");
    return { migration: await this.#find(guestId, migrationId) };
  }

  async #find(guestId: GuestId, migrationId: MigrationId): Promise<Migration> {
    const driven = this.#ports.runner.current(guestId, migrationId);
    if (driven !== null) return driven;
    const stored = await this.#ports.store.get(guestId);
    const held = stored?.record.migration?.migration;
    if (held?.migrationId === migrationId) return held;
    const archived = await this.#ports.store.readArchived(migrationId);
    if (archived?.migration !== undefined) return archived.migration;
    throw new SwitchoverError("NOT_FOUND", `There is no migration ${migrationId}.`, {
      reason: "MIGRATION_UNKNOWN",
      field: "migration_id",
    });
  }

  /**
   * The migration as it stands, then after every change, whichever coordinator drives it; ends once the migration
   * has ended, or with the signal. A slow reader misses states in between, never the last.
   */
  async *watchMigration(
    asked: WatchMigrationRequest,
    signal: AbortSignal,
  ): AsyncIterable<WatchMigrationResponse> {
    const { migrationId, guestId } = parseMigrationId(asked.migrationId, "migration_id");
    const states = new NewerStates();
    const ended = new AbortController();
    const end = () => {
      ended.abort();
      states.end();
    };
    signal.addEventListener("abort", end);
    const stopObserving = this.#ports.runner.observe(migrationId, (migration) => states.offer(migration));
    try {
      states.offer(await this.#find(guestId, migrationId));
      if (signal.aborted) return;
      void this.#watchStore(guestId, migrationId, states, ended.signal);
      for await (const migration of states) {
        yield { migration };
        if (isTerminal(migration.phase)) return;
      }
    } finally {
      stopObserving();
      signal.removeEventListener("abort", end);
      ended.abort();
    }
  }

  /** Brings what other coordinators commit. */
  async #watchStore(
    guestId: GuestId,
    migrationId: MigrationId,
    states: NewerStates,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for await (const { record } of this.#ports.store.watch(guestId, signal)) {
        const held = record.migration?.migration;
        if (held?.migrationId === migrationId) {
          // Progress that is driven here is newer than the record.
          states.offer(this.#ports.runner.current(guestId, migrationId) ?? held);
          continue;
        }
        // The guest's next migration has the record: this one has ended, and is in the history.
        states.offer(await this.#find(guestId, migrationId));
      }
      states.end();
    } catch (thrown) {
      if (signal.aborted) states.end();
      else states.fail(SwitchoverError.from(thrown));
    }
  }
}

/** Two ways bring the states of one migration: what is older than what came before is left out. */
class NewerStates extends LatestValue<Migration> {
  #newest: Migration | null = null;

  override offer(migration: Migration): void {
    if (this.#newest !== null && !isNewer(migration, this.#newest)) return;
    this.#newest = migration;
    super.offer(migration);
  }
}

function isNewer(migration: Migration, than: Migration): boolean {
  const revision = migration.fence?.revision ?? 0n;
  const known = than.fence?.revision ?? 0n;
  if (revision !== known) return revision > known;
  return (migration.progress?.transferredBytes ?? 0n) > (than.progress?.transferredBytes ?? 0n);
}
