import { setImmediate as nextTurn } from "node:timers/promises";
import { DrainApi } from "../../coordinator/drain/drain-api.ts";
import { DrainRunner } from "../../coordinator/drain/drain-runner.ts";
import type { DrainStore, StoredDrain } from "../../coordinator/drain/drain-store.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import type { DrainedHostPort } from "../../coordinator/drain/survey-drain.ts";
import type { Asked } from "../../coordinator/migration/complete-state.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { type Drain, DrainRecord, type DrainSpec } from "../../proto/gen/switchover/v1/drain.ts";
import { GuestInstance, RightToRun } from "../../proto/gen/switchover/v1/guest.ts";
import { DescribeResponse } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import {
  Migration,
  MigrationMode,
  MigrationSpec,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationRequest } from "../../proto/gen/switchover/v1/migration_service.ts";
import type { HostId } from "../../proto/ids.ts";
import { broken, VirtualClock } from "./coordinator-world.ts";

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

export function drainSpecOf(change: Partial<DrainSpec> = {}): DrainSpec {
  return {
    hostId: "ha",
    destinationHostIds: ["hb", "hc"],
    mode: MigrationMode.LIVE,
    transfer: undefined,
    postCopy: undefined,
    maxParallel: 0,
    priority: 0,
    deadline: undefined,
    attempts: 0,
    giveUpAfterMs: 0,
    ...change,
  };
}

/** Drains in memory, as bytes; a write can be the last thing that its coordinator does. */
export class MemoryDrains {
  readonly commits: Drain[] = [];
  readonly #records = new Map<string, { readonly bytes: Uint8Array; readonly revision: number }>();
  readonly #wakes = new Set<() => void>();
  #revision = 0;
  /** Awaited by each read, once it has the value. */
  beforeAnswer: (() => Promise<void>) | null = null;
  /** Before a write, and after it. */
  beforeWrite: (() => void) | null = null;
  afterWrite: (() => void) | null = null;

  storeOf(dead: AbortSignal): DrainStore {
    const read = (hostId: string): StoredDrain | null => {
      const held = this.#records.get(hostId);
      return held === undefined ? null : { record: DrainRecord.decode(held.bytes), revision: held.revision };
    };
    const alive = () => {
      if (dead.aborted) throw broken("UNAVAILABLE", "DEAD");
    };
    return {
      get: async (hostId) => {
        alive();
        const stored = read(hostId);
        await this.beforeAnswer?.();
        return stored;
      },
      write: async (record, expectedRevision) => {
        this.beforeWrite?.();
        alive();
        if ((this.#records.get(record.hostId)?.revision ?? 0) !== expectedRevision)
          throw broken("ABORTED", "REVISION_CONFLICT");
        this.#revision += 1;
        const revision = this.#revision;
        this.#records.set(record.hostId, { bytes: DrainRecord.encode(record).finish(), revision });
        if (record.drain !== undefined) this.commits.push(record.drain);
        for (const wake of this.#wakes) wake();
        this.afterWrite?.();
        alive();
        return { record, revision };
      },
      watch: (signal) => this.#watch(signal, dead, read),
    };
  }

  async *#watch(signal: AbortSignal, dead: AbortSignal, read: (hostId: string) => StoredDrain | null) {
    let seen = 0;
    let wake = () => {};
    const rouse = () => wake();
    this.#wakes.add(rouse);
    for (const each of [signal, dead]) each.addEventListener("abort", rouse);
    while (!signal.aborted && !dead.aborted) {
      const next = [...this.#records.keys()]
        .map(read)
        .filter((stored) => stored !== null)
        .filter(({ revision }) => revision > seen)
        .sort((left, right) => left.revision - right.revision)[0];
      if (next !== undefined) {
        seen = next.revision;
        yield next;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    this.#wakes.delete(rouse);
  }
}

/** Guests, where they live and where they are prepared, and migrations that end when they are told to. */
export class PretendedCloud {
  readonly #clock: VirtualClock;
  readonly livesOn = new Map<string, string>();
  readonly preparedAt = new Map<string, Set<string>>();
  readonly silent = new Set<string>();
  /** Hosts that are waited for in vain. */
  readonly stuck = new Set<string>();
  /** Guests at whose VMMs a preflight is. */
  readonly stuckVmms = new Set<string>();
  /** Guests that every destination refuses, in its preflight. */
  readonly unready = new Set<string>();
  readonly migrations = new Map<string, { migration: Migration; request: StartMigrationRequest }>();
  /** Taken by the next starts of a guest, in order. */
  readonly refusals = new Map<string, SwitchoverError[]>();
  /** Guests whose record nobody can read. */
  readonly unreadable = new Set<string>();
  /** Answers of starts that are lost, once made. */
  answersLost = 0;
  mostUnderWay = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  prepare(guestId: string, hostId: string): void {
    this.preparedAt.set(hostId, (this.preparedAt.get(hostId) ?? new Set()).add(guestId));
  }

  underWay(): { migration: Migration; request: StartMigrationRequest }[] {
    return [...this.migrations.values()].filter(({ migration }) => migration.phase === Phase.TRANSFERRING);
  }

  guestsUnderWay(): string[] {
    return this.underWay().map(({ migration }) => migration.spec?.guestId ?? "");
  }

  /** A migration of somebody else's. */
  async migrate(guestId: string, sourceHostId: string, destinationHostId: string): Promise<void> {
    const spec = MigrationSpec.fromPartial({ guestId, sourceHostId, destinationHostId });
    await this.api.startMigration({ requestId: "another", spec, validateOnly: false });
  }

  end(guestId: string, phase: Phase, reasonCode = "", outcome: Outcome = Outcome.UNSPECIFIED): void {
    for (const [key, { migration, request }] of this.migrations) {
      if (migration.spec?.guestId !== guestId || migration.phase !== Phase.TRANSFERRING) continue;
      this.migrations.set(key, { migration: { ...migration, phase, reasonCode, outcome }, request });
      const destination = migration.spec.destinationHostId;
      this.preparedAt.get(destination)?.delete(guestId);
      if (phase === Phase.COMPLETED) this.livesOn.set(guestId, destination);
      if (outcome === Outcome.GUEST_LOST) this.livesOn.delete(guestId);
    }
  }

  readonly hosts: DrainedHostPort = {
    describe: async (hostId, { deadlineMs }) => {
      this.#answers(hostId);
      if (this.stuck.has(hostId)) await this.#waitInVain(deadlineMs);
      const living = [...this.livesOn].filter(([, host]) => host === hostId).map(([guestId]) => guestId);
      return DescribeResponse.fromPartial({ guestIds: [...living, ...(this.preparedAt.get(hostId) ?? [])] });
    },
    getGuest: async (hostId, guestId) => {
      this.#answers(hostId);
      const lives = this.livesOn.get(guestId) === hostId;
      const last = [...this.migrations.values()].findLast(({ request }) => request.spec?.guestId === guestId);
      const migrationId = last?.migration.migrationId ?? "";
      const isSource = last?.request.spec?.sourceHostId === hostId;
      const rightElsewhere = isSource ? RightToRun.HANDED_OFF : RightToRun.AWAITED;
      const rightToRun = lives ? RightToRun.HELD : rightElsewhere;
      return { instances: [GuestInstance.fromPartial({ guestId, hostId, rightToRun, migrationId })] };
    },
    preflight: async (hostId, { guestId }, { deadlineMs }) => {
      this.#answers(hostId);
      if (this.stuckVmms.has(guestId)) await this.#waitInVain(deadlineMs);
      const refusal = { reason: "NOT_ADOPTED", sentence: "AdoptGuest comes first.", field: "instance_id" };
      return { refusals: this.unready.has(guestId) ? [refusal] : [], instance: undefined };
    },
  };

  readonly api = {
    startMigration: async (request: StartMigrationRequest, { requestedBy }: Asked = {}) => {
      const guestId = request.spec?.guestId ?? "";
      this.#reads(guestId);
      const key = `${guestId} ${request.requestId}`;
      const known = this.migrations.get(key);
      if (known !== undefined) {
        const same = JSON.stringify(known.request.spec) === JSON.stringify(request.spec);
        if (!same) throw new SwitchoverError("ALREADY_EXISTS", "Another.", { reason: "REQUEST_REUSED" });
        return { migration: { ...known.migration }, refusals: [] };
      }
      if (request.validateOnly) return { migration: undefined, refusals: [] };
      const refusal = this.refusals.get(guestId)?.shift();
      if (refusal !== undefined) throw refusal;
      if (this.guestsUnderWay().includes(guestId))
        throw new SwitchoverError("FAILED_PRECONDITION", "Busy.", { reason: "GUEST_BUSY" });
      const number = String(this.migrations.size).padStart(12, "0");
      const migration = Migration.fromPartial({
        migrationId: `${guestId}-${number}`,
        phase: Phase.TRANSFERRING,
        ...(requestedBy === undefined ? {} : { requestedBy }),
        ...(request.spec === undefined ? {} : { spec: request.spec }),
      });
      this.migrations.set(key, { migration, request });
      this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay().length);
      if (this.answersLost > 0) {
        this.answersLost -= 1;
        throw broken("UNAVAILABLE", "OUTCOME_UNKNOWN");
      }
      return { migration: { ...migration }, refusals: [] };
    },
    getMigration: async ({ migrationId }: { migrationId: string }) => {
      const found = [...this.migrations.values()].find(
        ({ migration }) => migration.migrationId === migrationId,
      );
      if (found === undefined) throw broken("NOT_FOUND", "MIGRATION_UNKNOWN");
      this.#reads(found.migration.spec?.guestId ?? "");
      return { migration: { ...found.migration } };
    },
    cancelMigration: async ({ migrationId }: { migrationId: string }) => {
      const { migration } = await this.api.getMigration({ migrationId });
      this.end(migration.spec?.guestId ?? "", Phase.CANCELLED, "CANCELLED");
      return { migration };
    },
  };

  async #waitInVain(ms: number): Promise<never> {
    await new Promise<void>((resolve) => this.#clock.after(ms, resolve));
    throw broken("DEADLINE_EXCEEDED", "GRPC_DEADLINE_EXCEEDED");
  }

  #reads(guestId: string): void {
    if (this.unreadable.has(guestId)) throw broken("INTERNAL", "RECORD_UNREADABLE");
  }

  #answers(hostId: string): void {
    if (this.silent.has(hostId)) throw broken("UNAVAILABLE", "UNREACHABLE");
  }
}

export class DrainWorld {
  readonly clock = new VirtualClock();
  readonly drains = new MemoryDrains();
  readonly cloud = new PretendedCloud(this.clock);
  readonly #dead: AbortController[] = [];

  coordinator(name: string) {
    const dead = new AbortController();
    this.#dead.push(dead);
    const { clock } = this;
    const store = this.drains.storeOf(dead.signal);
    const { hosts, api: migrations } = this.cloud;
    const draining = new DrainingHosts();
    const runner = new DrainRunner(
      { store, hosts, migrations, draining, clock, log: SILENT },
      name,
      dead.signal,
    );
    const known = { get: async (hostId: HostId) => (hostId === "hx" ? null : ({ hostId } as never)) };
    const api = new DrainApi({ store, hosts: known, runner, draining, clock, random: () => 0.5 });
    return { api, draining, kill: () => dead.abort("closed") };
  }

  /** Lets everything that can happen happen, then time pass, until the condition holds; throws after a while. */
  async until(condition: () => boolean, what: string): Promise<void> {
    for (let turn = 0; turn < 2_000; turn += 1) {
      for (let step = 0; step < 12; step += 1) await nextTurn();
      if (condition()) return;
      this.clock.advance(50);
    }
    throw new Error(`It did not happen that ${what}.`);
  }

  get drain(): Drain | undefined {
    return this.drains.commits.at(-1);
  }

  guest(guestId: string) {
    return this.drain?.guests.find((guest) => guest.guestId === guestId);
  }

  close(): void {
    for (const dead of this.#dead) dead.abort("closed");
  }
}
