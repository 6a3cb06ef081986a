import { type CompleteState, completeState } from "../../../coordinator/migration/complete-state.ts";
import { isTerminal } from "../../../coordinator/migration/phase-edges.ts";
import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { type HostRecord, MigrationState } from "../../../proto/gen/switchover/v1/record.ts";
import type { MigrationDetail, Notice } from "../page/wire.ts";
import { ChangeLog } from "./change-log.ts";
import { type GuestPlace, placeAfter, placeAtEnd } from "./guest-place.ts";
import { type HeardHost, hostEntry } from "./host-entry.ts";
import { migrationDetail } from "./migration-detail.ts";
import { migrationRow, unixMs } from "./migration-row.ts";
import { noticeOf } from "./notice.ts";

/** What is kept of a migration, about a kilobyte, besides its row. */
interface KeptMigration {
  /** Of the record that it was read of. */
  readonly revision: bigint;
  readonly requestedAtMs: number;
  /** Null: it goes on. */
  readonly endedAtMs: number | null;
  readonly encoded: Uint8Array;
}

export interface ViewLimits {
  readonly migrations: number;
  readonly ageMs: number;
}

const NOTICES_AT_MOST = 1_000;
const GUESTS_AT_MOST = 50_000;
const HOSTS_AT_MOST = 20_000;
/** A host that is gone on purpose is not shown as a silent one for ever. */
const SILENT_HOST_AGE_MS = 24 * 3_600_000;
/** How many beyond the limit are taken in before the oldest go: they are looked for among all. */
const SLACK = 0.02;

/**
 * All that the page shows, made of what NATS says and of nothing else: records as they stand, heartbeats, and the feed's
 * events. Each may come again, late, or older than what is known, and then changes nothing. Bounded in number and age.
 * Pure: the time is told by `sweep`.
 */
export class ObserverView {
  readonly changes = new ChangeLog();
  readonly #limits: ViewLimits;
  readonly #migrations = new Map<string, KeptMigration>();
  /** The last one heard of last. */
  readonly #places = new Map<string, GuestPlace>();
  readonly #hosts = new Map<string, HeardHost>();
  readonly #notices = new Map<string, Notice>();
  #nowMs: number;

  constructor(limits: ViewLimits, nowMs: number) {
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  get migrationCount(): number {
    return this.#migrations.size;
  }

  /** A record of a migration, live or ended. One that no coordinator can have written is passed over. */
  hearMigration(heard: MigrationState | undefined): void {
    const state = heard === undefined ? null : whereComplete(heard);
    if (state === null) return;
    const { migrationId, fence, phase, phases, requestedAtUnixUs } = state.migration;
    const known = this.#migrations.get(migrationId);
    if (known !== undefined && known.revision >= fence.revision) return;
    const hasEnded = isTerminal(phase);
    const endedAtMs = hasEnded ? unixMs(phases.at(-1)?.atUnixUs ?? requestedAtUnixUs) : null;
    if (hasEnded) this.#place(state.migration.spec.guestId, (place) => placeAtEnd(place, state));
    if (endedAtMs !== null && this.#isOld(endedAtMs)) return;
    this.#migrations.set(migrationId, {
      revision: fence.revision,
      requestedAtMs: unixMs(requestedAtUnixUs),
      endedAtMs,
      encoded: MigrationState.encode(state).finish(),
    });
    this.changes.put("m", migrationId, migrationRow(state));
    if (this.#migrations.size > this.#limits.migrations * (1 + SLACK)) this.#dropOldestMigrations();
  }

  /** A heartbeat, and when NATS stored it. */
  hearHost(record: HostRecord, storedAtMs: number): void {
    const known = this.#hosts.get(record.hostId);
    if (known !== undefined && known.heardAtMs > storedAtMs) return;
    const { hostId: id, target, version } = record;
    const shown = known?.shown;
    const host = { id, target, version, heardAtMs: storedAtMs, ...(shown === undefined ? {} : { shown }) };
    this.#hosts.delete(id);
    this.#hosts.set(id, host);
    this.#showHost(host);
    if (this.#hosts.size > HOSTS_AT_MOST) this.#forgetHost(this.#hosts.keys().next().value);
  }

  /** An event of the feed; `id` is its message's. */
  hearEvent(id: string, event: FeedEvent): void {
    if (event.guestId !== "") this.#place(event.guestId, (place) => placeAfter(place, event));
    if (event.event?.$case === "transferProgressed") this.#progress(event);
    const notice = noticeOf(id, event);
    if (notice === undefined || this.#notices.has(id) || this.#isOld(notice.atMs)) return;
    this.#notices.set(id, notice);
    this.changes.put("n", id, notice);
    if (this.#notices.size > NOTICES_AT_MOST) this.#forgetNotice(this.#notices.keys().next().value);
  }

  /** What the time does: hosts fall silent, and what is too old is forgotten. */
  sweep(nowMs: number): void {
    this.#nowMs = nowMs;
    for (const host of this.#hosts.values()) {
      if (nowMs - host.heardAtMs > SILENT_HOST_AGE_MS) this.#forgetHost(host.id);
      else this.#showHost(host);
    }
    for (const notice of this.#notices.values()) if (this.#isOld(notice.atMs)) this.#forgetNotice(notice.id);
    for (const [id, { endedAtMs }] of this.#migrations) {
      if (endedAtMs !== null && this.#isOld(endedAtMs)) this.#forgetMigration(id);
    }
  }

  /** Null for a migration that is not kept. */
  detail(migrationId: string): MigrationDetail | null {
    const kept = this.#migrations.get(migrationId);
    return kept === undefined ? null : migrationDetail(completeState(MigrationState.decode(kept.encoded)));
  }

  /** Each host and when it was heard of, the longest silent first. */
  heard(atMost: number): readonly (readonly [string, number])[] {
    const heard: (readonly [string, number])[] = [];
    for (const { id, heardAtMs } of this.#hosts.values()) {
      if (heard.length === atMost) break;
      heard.push([id, heardAtMs]);
    }
    return heard;
  }

  #place(guestId: string, evolve: (place: GuestPlace | undefined) => GuestPlace): void {
    const known = this.#places.get(guestId);
    const next = evolve(known);
    if (next === known) return;
    this.#places.delete(guestId);
    this.#places.set(guestId, next);
    if (next.shown === null) this.changes.remove("g", guestId);
    else this.changes.put("g", guestId, next.shown);
    if (this.#places.size <= GUESTS_AT_MOST) return;
    const [oldest = ""] = this.#places.keys();
    this.#places.delete(oldest);
    this.changes.remove("g", oldest);
  }

  #progress({ migrationId, event }: FeedEvent): void {
    const kept = this.#migrations.get(migrationId);
    if (kept === undefined || kept.endedAtMs !== null || event?.$case !== "transferProgressed") return;
    const state = completeState(MigrationState.decode(kept.encoded));
    this.changes.put("m", migrationId, migrationRow(state, event.value.progress));
  }

  #showHost(host: HeardHost): void {
    const entry = hostEntry(host, this.#nowMs);
    // The time of a heartbeat alone is no change: beats tell it, to all readers at once.
    if (entry.standing === host.shown?.standing && entry.target === host.shown.target) {
      if (entry.version === host.shown.version) return;
    }
    this.#hosts.set(host.id, { ...host, shown: entry });
    this.changes.put("h", host.id, entry);
  }

  #isOld(atMs: number): boolean {
    return this.#nowMs - atMs > this.#limits.ageMs;
  }

  /** Ended ones first, and of these those that were asked for first. */
  #dropOldestMigrations(): void {
    const order = [...this.#migrations].sort(([, left], [, right]) => {
      if ((left.endedAtMs === null) !== (right.endedAtMs === null)) return left.endedAtMs === null ? 1 : -1;
      return left.requestedAtMs - right.requestedAtMs;
    });
    const surplus = order.length - this.#limits.migrations;
    for (const [id] of order.slice(0, surplus)) this.#forgetMigration(id);
  }

  #forgetMigration(id: string): void {
    this.#migrations.delete(id);
    this.changes.remove("m", id);
  }

  #forgetHost(id = ""): void {
    this.#hosts.delete(id);
    this.changes.remove("h", id);
  }

  #forgetNotice(id = ""): void {
    this.#notices.delete(id);
    this.changes.remove("n", id);
  }
}

function whereComplete(state: MigrationState): CompleteState | null {
  try {
    return completeState(state);
  } catch {
    return null;
  }
}
