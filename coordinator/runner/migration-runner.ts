import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { type GuestId, guestIdIn, type MigrationId } from "../../proto/ids.ts";
import type { FeedPlace } from "../../proto/subjects.ts";
import type { Standby } from "../admission/admission-port.ts";
import { type CompleteState, completeState } from "../migration/complete-state.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { StoredRecord } from "../record/record-store.ts";
import { finishMigration, unfinishedIn } from "./finish-migration.ts";
import { LiveMigration } from "./live-migration.ts";
import { OrphanedMigrations } from "./orphaned-migrations.ts";
import { DEFAULT_RUNNER_LIMITS, type RunnerLimits, type RunnerPorts } from "./runner-ports.ts";

/**
 * The migrations that this coordinator drives, one a guest. Any number of coordinators may drive the same one: the
 * record's compare-and-set lets one of them take each step, agents refuse what was overtaken, and the feed drops
 * what it holds already.
 */
export class MigrationRunner {
  readonly #ports: RunnerPorts;
  readonly #limits: RunnerLimits;
  readonly #live = new Map<GuestId, LiveMigration>();
  readonly #observers = new Map<MigrationId, Set<(migration: Migration) => void>>();
  readonly #closed = new AbortController();
  readonly #orphaned: OrphanedMigrations;

  constructor(ports: RunnerPorts, limits: Partial<RunnerLimits> = {}) {
    this.#ports = ports;
    this.#limits = { ...DEFAULT_RUNNER_LIMITS, ...limits };
    this.#orphaned = new OrphanedMigrations(ports, this.#limits, this.#closed.signal, {
      // What is known here has been told to admission by the migration that is driven here.
      isKnown: (guestId, revision) => (this.#live.get(guestId)?.storeRevision ?? 0) >= revision,
      onRecord: (stored) => {
        this.#noteTrace(stored);
        ports.admission.hear(stored);
        this.#live.get(stored.record.guestId as GuestId)?.hearFromStore(stored);
      },
      isDriven: (stored) => this.#isDriven(stored),
      onOrphaned: (stored) => this.take(stored),
    });
  }

  /**
   * Takes up every migration in the store that has not ended, and does what is left of those that have; from then on
   * also those whose coordinator falls silent. Returns how many are driven from now on. Call it before anything else,
   * and again where it rejects.
   */
  async resume(): Promise<number> {
    this.#orphaned.watch();
    for await (const guestId of this.#ports.store.keys()) {
      if (this.#closed.signal.aborted) break;
      await this.#takeFromStore(guestId);
    }
    return this.#live.size;
  }

  /** A record that cannot be read costs its own guest only. */
  async #takeFromStore(guestId: GuestId): Promise<void> {
    try {
      const stored = await this.#ports.store.get(guestId);
      if (stored !== null) this.take(stored);
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      if (code !== "INTERNAL") throw thrown;
      this.#ports.log.error({ guest_id: guestId, reason }, `A migration was not taken up: ${message}`);
    }
  }

  #isDriven({ record }: StoredRecord): boolean {
    const live = this.#live.get(record.guestId as GuestId);
    return live?.isClosed === false && live.migrationId === record.migration?.migration?.migrationId;
  }

  /**
   * Drives the record's migration from where it stands. Idempotent; one that is finished, or that only a newer coordinator
   * understands, changes nothing. `standby`: who is to let it begin, where it still waits for that.
   */
  take(stored: StoredRecord, standby: Standby = "taken over"): void {
    const { migration } = stored.record;
    if (migration === undefined || migration.archived || this.#closed.signal.aborted) return;
    this.#noteTrace(stored);
    const guestId = stored.record.guestId as GuestId;
    if (stored.unknownValues !== undefined) {
      const fields = { guest_id: guestId, migration_id: migration.migration?.migrationId ?? "" };
      const values = stored.unknownValues.join(", ");
      this.#ports.log.warn(fields, `A newer coordinator drives this migration, which is in ${values}.`);
      return;
    }
    const state = completeState(migration);
    const present = this.#live.get(guestId);
    // A record that comes late must not replace the migration that came after its own.
    const isNewer = present?.isClosed === false && present.storeRevision >= stored.revision;
    if (this.#isDriven(stored) || isNewer) return;
    present?.close();
    const live = new LiveMigration(stored, state, standby, this.#ports, this.#limits, {
      onChange: (changed) => this.#tell(changed),
      progressCommitMs: () => this.#progressCommitMs(),
    });
    this.#live.set(guestId, live);
    void live.finished.then(() => {
      if (this.#live.get(guestId) !== live) return;
      this.#live.delete(guestId);
      // Whoever drives it now may fall silent before the record changes again.
      if (!isTerminal(live.state.migration.phase)) this.#orphaned.lookAfter(live.stored);
    });
    live.start();
  }

  /** How many migrations are driven here. */
  get drivenCount(): number {
    return this.#live.size;
  }

  /** Brings an ended migration to the feed and the history, so that its record may be claimed for another. */
  finish(stored: StoredRecord): Promise<StoredRecord> {
    if (unfinishedIn(stored) === null) return Promise.resolve(stored);
    return finishMigration(stored, this.#ports, this.#limits, this.#closed.signal);
  }

  /** Whether a host's word at that place of the feed is the next that a migration driven here has to hear. */
  awaits({ hostId, migrationId, sequence }: FeedPlace): boolean {
    const guestId = guestIdIn(migrationId);
    const live = guestId === null ? undefined : this.#live.get(guestId);
    return live?.migrationId === migrationId && live.awaits(hostId, sequence);
  }

  /** Takes one message of the feed, whoever it is about; never throws, never waits. */
  onFeedEvent(message: FeedEvent): void {
    this.#live.get(message.guestId as GuestId)?.hearFromFeed(message);
  }

  /**
   * Tells the guest's migration what a caller asks of it, and resolves once that is committed. NOT_FOUND /
   * MIGRATION_NOT_LIVE where this coordinator drives no migration of the guest.
   */
  async tell(guestId: GuestId, event: MigrationEvent): Promise<void> {
    const live = this.#live.get(guestId);
    if (live === undefined) {
      throw new SwitchoverError("NOT_FOUND", `No migration of guest ${guestId} is driven here.`, {
        reason: "MIGRATION_NOT_LIVE",
      });
    }
    await live.tell(event);
  }

  /**
   * Drives the record's migration from here on if it has not ended, and returns its state, not older than the record; null
   * where this coordinator has none as new: it is just finding out that it was overtaken, or the migration is over.
   */
  bringUpTo(stored: StoredRecord): CompleteState | null {
    this.take(stored);
    const live = this.#live.get(stored.record.guestId as GuestId);
    if (live === undefined || !this.#isDriven(stored)) return null;
    live.hearFromStore(stored);
    return live.storeRevision >= stored.revision ? live.state : null;
  }

  /** All that this coordinator knows of the migration, committed or not; null where it is not driven here. */
  stateOf(guestId: GuestId, migrationId: MigrationId): CompleteState | null {
    const live = this.#live.get(guestId);
    return live?.migrationId === migrationId ? live.state : null;
  }

  /** The migration with progress newer than its record, where it is driven here. */
  current(guestId: GuestId, migrationId: MigrationId): Migration | null {
    const live = this.#live.get(guestId);
    return live?.migrationId === migrationId ? live.migration : null;
  }

  /** Calls `listener` after each change of the migration while it is driven here; the returned function ends that. */
  observe(migrationId: MigrationId, listener: (migration: Migration) => void): () => void {
    const listeners = this.#observers.get(migrationId) ?? new Set();
    listeners.add(listener);
    this.#observers.set(migrationId, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#observers.delete(migrationId);
    };
  }

  /** Lets go of everything where it stands; the records are enough to go on from. */
  close(): void {
    this.#closed.abort("closed");
    for (const live of this.#live.values()) live.close();
    this.#live.clear();
  }

  /** How far transfers are is of less use the more there are, and must not take the store's time from steps. */
  #progressCommitMs(): number {
    const { longestProgressCommitMs, progressCommitMs, progressCommitsPerSecond } = this.#limits;
    const fairMs = (this.#live.size * 1_000) / progressCommitsPerSecond;
    return Math.min(longestProgressCommitMs, Math.max(progressCommitMs, fairMs));
  }

  #noteTrace({ record }: StoredRecord): void {
    const { migrationId = "", traceparent, tracestate } = record.migration?.migration ?? {};
    if (traceparent !== undefined) this.#ports.traces?.note(migrationId, { traceparent, tracestate });
  }

  #tell(migration: Migration): void {
    for (const listener of this.#observers.get(migration.migrationId as MigrationId) ?? [])
      listener(migration);
  }
}
