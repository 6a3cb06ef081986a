import { SwitchoverError } from "../../proto/error.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import { isComplete, SIDES } from "../migration/complete-state.ts";
import { outstandingCommands } from "../migration/transition.ts";
import type { StoredRecord } from "../record/record-store.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";
import { watchAnew } from "./watch-anew.ts";

const COPYING: ReadonlySet<Phase> = new Set([Phase.TRANSFERRING, Phase.POST_COPY]);

export interface OrphanListener {
  /** Whether the guest's record of that revision, or a newer one, is here already: it need not be read. */
  isKnown(guestId: GuestId, revision: number): boolean;
  /** Every record as somebody commits it. */
  onRecord(stored: StoredRecord): void;
  isDriven(stored: StoredRecord): boolean;
  /** An open migration whose record has stood still for so long that nobody else may be driving it. */
  onOrphaned(stored: StoredRecord): void;
}

/** Said at level debug of each migration: records that stand still are many where hosts do not answer. */
export const TAKEN_OVER = "A migration of another coordinator is driven here too.";

/** The newest commit of a record, as the watch brought it. */
interface Commit {
  readonly revision: number;
  readonly committedBy: string;
}

/** An open migration that somebody else drives, as far as is known. */
interface Waiting extends Commit {
  readonly cancel: () => void;
}

/**
 * Notices open migrations that no other coordinator drives any more, by one watch of all records.
 *
 * There is no lease, because none is needed for safety: compare-and-set lets one coordinator take each step, agents
 * refuse what was overtaken, and commands may be repeated. It is only waste to drive a migration twice. A record that
 * stands still means either that the driver is gone, or that the migration waits for something; to drive such a one from
 * here too costs a few repeated questions, and nothing is waited for that could have been done.
 *
 * A migration that only copies memory stands still for minutes, for a driver with many commits seldom how far each
 * is. Where coordinators hear each other, such a one is its driver's for as long as that is heard, unless it stands still
 * for longer than any progress waits. One of them goes on as soon as a driver is gone, without waiting for its records
 * to stand still; the next one does should that be gone too.
 */
export class OrphanedMigrations {
  readonly #ports: Pick<RunnerPorts, "store" | "clock" | "log" | "peers">;
  readonly #limits: RunnerLimits;
  readonly #signal: AbortSignal;
  readonly #listener: OrphanListener;
  readonly #waiting = new Map<GuestId, Waiting>();
  #watching: "yes" | "no" = "no";

  constructor(
    ports: Pick<RunnerPorts, "store" | "clock" | "log" | "peers">,
    limits: RunnerLimits,
    signal: AbortSignal,
    listener: OrphanListener,
  ) {
    this.#ports = ports;
    this.#limits = limits;
    this.#signal = signal;
    this.#listener = listener;
    const forgetPeers = ports.peers?.onGone(() => this.#takeAbandoned());
    signal.addEventListener("abort", () => {
      forgetPeers?.();
      for (const { cancel } of this.#waiting.values()) cancel();
      this.#waiting.clear();
    });
  }

  /** Begins, and goes on until the signal. Idempotent. */
  watch(): void {
    if (this.#watching === "yes") return;
    this.#watching = "yes";
    const watch = {
      of: "records",
      begin: () => this.#ports.store.watchAll(this.#signal, this.#listener.isKnown),
      hear: (stored: StoredRecord) => this.#hear(stored),
      againAfterMs: this.#limits.longestBackoffMs,
    };
    void watchAnew(this.#ports, watch, this.#signal);
  }

  /** The guest's migration was let go of here: it is taken up again where it stands still, if it is open at all. */
  lookAfter({ record, revision }: StoredRecord): void {
    const guestId = record.guestId as GuestId;
    if (this.#signal.aborted || this.#waiting.has(guestId)) return;
    this.#takeLater(guestId, { revision, committedBy: record.committedBy }, false);
  }

  #hear(stored: StoredRecord): void {
    if (this.#signal.aborted) return;
    const guestId = stored.record.guestId as GuestId;
    this.#listener.onRecord(stored);
    const waiting = this.#waiting.get(guestId);
    // A watch that begins anew brings what stands still since before.
    if (waiting !== undefined && waiting.revision >= stored.revision) return;
    waiting?.cancel();
    this.#waiting.delete(guestId);
    if (!isOpen(stored) || this.#listener.isDriven(stored)) return;
    const seen = { revision: stored.revision, committedBy: stored.record.committedBy };
    this.#takeLater(guestId, seen, onlyCopies(stored));
  }

  #takeLater(guestId: GuestId, seen: Commit, mayStandStill: boolean, waitedMs = 0): void {
    const { takeOverAfterMs, takeOverCopyingAfterMs } = this.#limits;
    const cancel = this.#ports.clock.after(takeOverAfterMs, () => {
      this.#waiting.delete(guestId);
      const stoodMs = waitedMs + takeOverAfterMs;
      const isAnothers = this.#ports.peers?.isAnothers(guestId, seen.committedBy) === true;
      if (mayStandStill && isAnothers && stoodMs < takeOverCopyingAfterMs) {
        this.#takeLater(guestId, seen, mayStandStill, stoodMs);
      } else void this.#take(guestId, seen);
    });
    this.#waiting.set(guestId, { ...seen, cancel });
  }

  /** What nobody else is there to drive, now that one is gone. */
  #takeAbandoned(): void {
    for (const [guestId, waiting] of this.#waiting) {
      if (this.#ports.peers?.isAnothers(guestId, waiting.committedBy) !== false) continue;
      waiting.cancel();
      this.#waiting.delete(guestId);
      void this.#take(guestId, waiting);
    }
  }

  /** What the watch brought may be old by now, also where nothing came after it: the record itself counts. */
  async #take(guestId: GuestId, seen: Commit): Promise<void> {
    try {
      const stored = await this.#ports.store.get(guestId);
      if (stored === null || !isOpen(stored) || this.#signal.aborted) return;
      const { committedBy, migration } = stored.record;
      const migrationId = migration?.migration?.migrationId ?? "";
      const fields = { guest_id: guestId, migration_id: migrationId, committed_by: committedBy };
      this.#ports.log.debug(fields, TAKEN_OVER);
      this.#listener.onOrphaned(stored);
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      const fields = { guest_id: guestId, code, reason };
      this.#ports.log.warn(fields, `A migration that nobody seems to drive was not taken up: ${message}`);
      if (code === "UNAVAILABLE" && !this.#signal.aborted && !this.#waiting.has(guestId)) {
        this.#takeLater(guestId, seen, false);
      }
    }
  }
}

/** Nobody is asked anything, nor was in vain: another coordinator could reach nobody that the driver does not. */
function onlyCopies({ record: { migration }, unknownValues }: StoredRecord): boolean {
  if (migration === undefined || unknownValues !== undefined) return false;
  if (!isComplete(migration) || !COPYING.has(migration.migration.phase)) return false;
  const isHeard = SIDES.every(
    (side) => !migration[side].hostUnreachable && migration[side].failed.length === 0,
  );
  return isHeard && outstandingCommands(migration).length === 0;
}

function isOpen({ record: { migration } }: StoredRecord): boolean {
  return migration !== undefined && !migration.archived;
}
