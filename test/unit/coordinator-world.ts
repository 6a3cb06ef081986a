import { setImmediate as nextTurn } from "node:timers/promises";
import { type AdmissionPort, OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import type { Clock } from "../../coordinator/clock.ts";
import type { Log } from "../../coordinator/log.ts";
import { completeState } from "../../coordinator/migration/complete-state.ts";
import { commitState } from "../../coordinator/record/guest-record.ts";
import { decodeGuestRecord, encodeGuestRecord } from "../../coordinator/record/record-codec.ts";
import type { RecordStore, StoredRecord } from "../../coordinator/record/record-store.ts";
import type { FeedPort } from "../../coordinator/runner/feed-port.ts";
import type { FencingPort } from "../../coordinator/runner/fencing-port.ts";
import { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import type { RunnerLimits, RunnerPorts } from "../../coordinator/runner/runner-ports.ts";
import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { PretendedHosts } from "./coordinator-pretended-hosts.ts";
import { phaseName } from "./coordinator-story.ts";

/** A clock that moves when it is told to. */
export class VirtualClock implements Clock {
  #nowUs = 1_795_456_900_000_000;
  readonly #timers = new Set<{ readonly atUs: number; readonly fire: () => void }>();

  unixUs(): number {
    return this.#nowUs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { atUs: this.#nowUs + delayMs * 1_000, fire };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  advance(ms: number): void {
    this.#nowUs += ms * 1_000;
    for (const timer of [...this.#timers]) {
      if (timer.atUs <= this.#nowUs && this.#timers.delete(timer)) timer.fire();
    }
  }
}

export function broken(code: ErrorCode, reason: string): SwitchoverError {
  return new SwitchoverError(code, `It is ${reason}.`, { reason });
}

/** A bucket in memory, with every record as bytes; writes can be made to fail, before or after they happened. */
export class MemoryStore implements RecordStore {
  readonly commits: GuestRecord[] = [];
  readonly archived = new Map<string, MigrationState>();
  /** Taken by the next writes, in order: "lost" was not written, "unknown" was, and nobody heard of it. */
  readonly failures: ("lost" | "unknown")[] = [];
  /** Called before each write. */
  beforeWrite: (() => void) | null = null;
  /** So many of the next writes find that another coordinator's was first. */
  othersFirst = 0;
  down = false;
  readonly #records = new Map<string, { readonly bytes: Uint8Array; readonly revision: number }>();
  readonly #watchers = new Set<() => void>();
  #revision = 0;

  async get(guestId: GuestId): Promise<StoredRecord | null> {
    if (this.down) throw broken("UNAVAILABLE", "DOWN");
    return this.#read(guestId);
  }

  create(record: GuestRecord): Promise<StoredRecord> {
    return this.#write(record, undefined);
  }

  update(record: GuestRecord, expectedRevision: number): Promise<StoredRecord> {
    return this.#write(record, expectedRevision);
  }

  /** A commit from elsewhere that changes nothing but the revision. */
  touch(guestId: string): void {
    const { record } = this.#read(guestId) ?? {};
    if (record?.migration !== undefined) this.put(commitState(record, completeState(record.migration)));
  }

  /** A write from elsewhere, whatever is there. */
  put(record: GuestRecord): StoredRecord {
    this.#revision += 1;
    this.#records.set(record.guestId, { bytes: encodeGuestRecord(record), revision: this.#revision });
    for (const wake of this.#watchers) wake();
    return { record, revision: this.#revision };
  }

  watch(guestId: GuestId, signal: AbortSignal): AsyncIterable<StoredRecord> {
    return this.#watch(() => [guestId], signal);
  }

  /** Leaves out all that is known, as the store of NATS does. */
  async *watchAll(
    signal: AbortSignal,
    isKnown: (guestId: GuestId, revision: number) => boolean = () => false,
  ): AsyncIterable<StoredRecord> {
    for await (const stored of this.#watch(() => [...this.#records.keys()], signal)) {
      if (!isKnown(stored.record.guestId as GuestId, stored.revision)) yield stored;
    }
  }

  async *#watch(guestIds: () => readonly string[], signal: AbortSignal): AsyncIterable<StoredRecord> {
    let seen = 0;
    let wake = () => {};
    const watcher = () => wake();
    this.#watchers.add(watcher);
    signal.addEventListener("abort", watcher);
    try {
      while (!signal.aborted) {
        const news = guestIds()
          .map((guestId) => this.#read(guestId))
          .filter((stored) => stored !== null)
          .filter((stored) => stored.revision > seen)
          .sort((left, right) => left.revision - right.revision);
        const [stored] = news;
        if (stored !== undefined && !this.down) {
          seen = stored.revision;
          yield stored;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#watchers.delete(watcher);
      signal.removeEventListener("abort", watcher);
    }
  }

  async *keys(): AsyncIterable<GuestId> {
    yield* [...this.#records.keys()] as GuestId[];
  }

  async archive(state: MigrationState): Promise<void> {
    if (this.down) throw broken("UNAVAILABLE", "DOWN");
    this.archived.set(state.migration?.migrationId ?? "", state);
  }

  async readArchived(migrationId: MigrationId): Promise<MigrationState | null> {
    return this.archived.get(migrationId) ?? null;
  }

  #read(guestId: string): StoredRecord | null {
    const held = this.#records.get(guestId);
    return held === undefined ? null : { record: decodeGuestRecord(held.bytes), revision: held.revision };
  }

  async #write(record: GuestRecord, expected: number | undefined): Promise<StoredRecord> {
    if (this.down) throw broken("UNAVAILABLE", "DOWN");
    this.beforeWrite?.();
    if (this.othersFirst > 0) {
      this.othersFirst -= 1;
      this.touch(record.guestId);
    }
    const failure = this.failures.shift();
    if (failure === "lost") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
    if (this.#records.get(record.guestId)?.revision !== expected)
      throw broken("ABORTED", "REVISION_CONFLICT");
    const stored = this.put(record);
    this.commits.push(record);
    if (failure === "unknown") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
    return stored;
  }
}

/** A feed in memory, which drops what it holds already; publishing can be made to fail. */
export class MemoryFeed implements FeedPort {
  readonly events: FeedEvent[] = [];
  readonly #ids = new Set<string>();
  /** Taken by the next calls, in order. */
  readonly failures: ("lost" | "unknown")[] = [];
  /** Called after each event that was taken. */
  afterPublish: (() => void) | null = null;

  async publish(event: FeedEvent, messageId: string): Promise<void> {
    const failure = this.failures.shift();
    if (failure === "lost") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
    if (!this.#ids.has(messageId)) {
      this.#ids.add(messageId);
      this.events.push(event);
      this.afterPublish?.();
    }
    if (failure === "unknown") throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
  }

  async lastSequence(migrationId: MigrationId): Promise<bigint> {
    return this.events.filter((event) => event.migrationId === migrationId).at(-1)?.sequence ?? 0n;
  }

  /** The phases of a migration as an observer reads them. */
  phasesOf(migrationId: string): string[] {
    return this.events
      .filter((event) => event.migrationId === migrationId)
      .map(({ event }) => (event?.$case === "phaseChanged" ? phaseName(event.value.to) : "?"));
  }

  /** Forgets message ids, as a stream does after its window. */
  forgetIds(): void {
    this.#ids.clear();
  }
}

/** Powers off whoever it is told to, where it can. */
export class PretendedFencing implements FencingPort {
  readonly fenced: string[] = [];
  /** Taken by the next calls, in order; with none left, what is asked is done. */
  readonly failures: SwitchoverError[] = [];

  async fence(hostId: HostId): Promise<void> {
    this.fenced.push(hostId);
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
  }
}

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A store, a feed and two hosts, with any number of coordinators. */
export class World {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore();
  readonly feed = new MemoryFeed();
  readonly hosts = new PretendedHosts();
  readonly fencing = new PretendedFencing();
  readonly #runners: MigrationRunner[] = [];

  startRunner(
    limits: Partial<RunnerLimits> = {},
    admission: AdmissionPort = OPEN_DOOR,
    given: Partial<RunnerPorts> = {},
  ): MigrationRunner {
    const { clock, store, feed, hosts: agents, fencing } = this;
    const ports = { clock, store, feed, agents, fencing, admission, log: SILENT, ...given };
    const runner = new MigrationRunner(ports, limits);
    this.#runners.push(runner);
    return runner;
  }

  /** Lets everything that can happen happen, then time pass, until the condition holds; throws after a minute. */
  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    for (let turn = 0; turn < 6_000; turn += 1) {
      for (let step = 0; step < 4; step += 1) await nextTurn();
      if (await condition()) return;
      this.clock.advance(10);
    }
    throw new Error(`It did not happen that ${what}.`);
  }

  /** Until the record says that its migration is over and done with. */
  async untilArchived(guestId: string): Promise<MigrationState> {
    let state: MigrationState | undefined;
    await this.until(async () => {
      state = (await this.store.get(guestId as GuestId))?.record.migration;
      return state?.archived === true;
    }, `the migration of ${guestId} ends`);
    if (state === undefined) throw new Error("There is no migration.");
    return state;
  }

  async untilPhase(guestId: string, phase: string): Promise<void> {
    await this.until(async () => {
      const held = await this.store.get(guestId as GuestId);
      const migration = held?.record.migration?.migration;
      return migration !== undefined && phaseName(migration.phase) === phase;
    }, `${guestId} is ${phase}`);
  }

  close(): void {
    for (const runner of this.#runners) runner.close();
  }
}
