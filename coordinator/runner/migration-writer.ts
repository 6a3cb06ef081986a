import { SwitchoverError } from "../../proto/error.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import {
  type CompleteState,
  completeState,
  guestIdOf,
  logFieldsOf,
  withFacts,
} from "../migration/complete-state.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import { type Transition, transition } from "../migration/transition.ts";
import { compareAndSet } from "../record/compare-and-set.ts";
import { commitState } from "../record/guest-record.ts";
import type { StoredRecord } from "../record/record-store.ts";
import { backoffMs, pause } from "./pause.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

export interface WriterListener {
  /** Phases that the feed is known to hold, to be committed along. */
  publishedPhases(): number;
  /** Between two commits that only say how far the transfer is, as things are. */
  progressCommitMs(): number;
  /** Something was heard, committed, or taken up from another coordinator's commit. */
  onChange(): void;
  /** The record belongs to another migration by now, or is gone. */
  onLost(): void;
}

interface Heard {
  readonly event: MigrationEvent;
  readonly atUnixUs: bigint;
  /** Told once what came of the event is committed, or never will be by this coordinator. */
  settle: ((error: SwitchoverError | null) => void) | undefined;
}

/**
 * One migration's record as this coordinator knows it: what is committed, and what was heard on top of that.
 *
 *   event -> heard ----> compare-and-set -> committed
 *              ^              | lost: the record as it stands now is taken up, and what was heard applied to that
 *              `--------------'
 *
 * Hearing never waits: events are applied at once, in their order, and committed together as soon as the store takes
 * them. While it is away they are kept, and tried until it is back; beyond a bound agents' words are let go of, for
 * agents remember what they said.
 */
export class MigrationWriter {
  readonly #ports: Pick<RunnerPorts, "store" | "clock" | "log">;
  readonly #limits: RunnerLimits;
  readonly #listener: WriterListener;
  readonly #signal: AbortSignal;
  #stored: StoredRecord;
  #committed: CompleteState;
  #heard: CompleteState;
  #uncommitted: Heard[] = [];
  /** Whether more was heard than how far the transfer is. */
  #pending: "nothing" | "progress" | "step" = "nothing";
  #committedAtUnixUs: number;
  #seenRevision = 0n;
  #writing = false;
  /** While progress waits for its time. */
  #cancelLater: (() => void) | null = null;
  /** While it waits to try again. */
  #rest: AbortController | null = null;

  constructor(
    stored: StoredRecord,
    state: CompleteState,
    ports: Pick<RunnerPorts, "store" | "clock" | "log">,
    limits: RunnerLimits,
    listener: WriterListener,
    signal: AbortSignal,
  ) {
    this.#stored = stored;
    this.#committed = state;
    this.#heard = state;
    this.#ports = ports;
    this.#limits = limits;
    this.#listener = listener;
    this.#signal = signal;
    this.#committedAtUnixUs = ports.clock.unixUs();
  }

  get stored(): StoredRecord {
    return this.#stored;
  }

  get committed(): CompleteState {
    return this.#committed;
  }

  /** The committed state with everything on top that was heard since. */
  get heard(): CompleteState {
    return this.#heard;
  }

  /** Somebody waits here until what was told is committed. */
  get awaitsCommit(): boolean {
    return this.#uncommitted.some(({ settle }) => settle !== undefined);
  }

  hear(event: MigrationEvent, settle?: (error: SwitchoverError | null) => void): void {
    if (this.#signal.aborted) {
      settle?.(shuttingDown());
      return;
    }
    const heard: Heard = { event, atUnixUs: BigInt(this.#ports.clock.unixUs()), settle };
    const next = this.#transition(this.#heard, heard);
    if (next === null) return;
    const isNews = next.state !== this.#heard;
    // What is being written may be overtaken, and be news to what stands then.
    const isSettled = this.#uncommitted.length === 0 && !this.#writing;
    if (!isNews && (settle === undefined || isSettled)) {
      settle?.(null);
      return;
    }
    this.#keep(heard);
    if (!isNews) return;
    this.#heard = next.state;
    this.#note(event, next);
    this.#listener.onChange();
    if (this.#isDue()) void this.#write();
    else this.#writeLater();
  }

  /** As `hear`; resolves once what came of it is committed. UNAVAILABLE / OUTCOME_UNKNOWN where that takes too long. */
  tell(event: MigrationEvent): Promise<void> {
    const { clock } = this.#ports;
    const { answerWithinMs } = this.#limits;
    return new Promise((resolve, reject) => {
      const cancel = clock.after(answerWithinMs, () => reject(notCommitted(answerWithinMs)));
      this.hear(event, (error) => {
        cancel();
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Takes up what another coordinator has committed; what was committed before that changes nothing. */
  takeUp(stored: StoredRecord): void {
    this.#rest?.abort("closed");
    if (this.#writing || this.#signal.aborted || stored.revision <= this.#stored.revision) return;
    this.#adopt(stored);
    if (this.#isDue()) void this.#write();
  }

  /** An agent has acted on a newer fence: the record is read again, and brought beyond that within the epoch. */
  async overtake(newest: Fence): Promise<void> {
    try {
      const stored = await this.#ports.store.get(guestIdOf(this.#heard));
      if (stored !== null) this.takeUp(stored);
    } catch (thrown) {
      const { message } = SwitchoverError.from(thrown);
      this.#ports.log.debug(logFieldsOf(this.#heard), `The record cannot be read: ${message}`);
      return;
    }
    const { epoch, revision } = this.#committed.migration.fence;
    if (newest.epoch !== epoch || newest.revision < revision) return;
    this.#seenRevision = newest.revision;
    this.#pending = "step";
    void this.#write();
  }

  /** Lets go of what is not committed. */
  close(): void {
    this.#cancelLater?.();
    this.#rest?.abort("closed");
    for (const { settle } of this.#uncommitted.splice(0)) settle?.(shuttingDown());
  }

  /** Null, and told, for an event that breaks a rule of the state machine: it is left out. */
  #transition(from: CompleteState, heard: Heard): Transition | null {
    try {
      return transition(from, heard.event, heard.atUnixUs);
    } catch (thrown) {
      const error = SwitchoverError.from(thrown);
      const fields = { ...logFieldsOf(from), event: heard.event.t, code: error.code, reason: error.reason };
      this.#ports.log.error(fields, `An event was not taken in: ${error.message}`);
      heard.settle?.(error);
      return null;
    }
  }

  #keep(heard: Heard): void {
    if (this.#uncommitted.length >= this.#limits.queuedEvents) {
      this.#uncommitted = this.#uncommitted.filter(({ settle }) => settle !== undefined);
    }
    this.#uncommitted.push(heard);
  }

  #note(event: MigrationEvent, next: Transition): void {
    const isProgress =
      event.t === "TransferProgressed" && next.commands.length === 0 && next.phasesEntered.length === 0;
    if (!isProgress) this.#pending = "step";
    else if (this.#pending === "nothing") this.#pending = "progress";
  }

  #isDue(): boolean {
    if (this.#pending !== "progress") return this.#pending === "step";
    const sinceUs = this.#ports.clock.unixUs() - this.#committedAtUnixUs;
    return sinceUs >= this.#listener.progressCommitMs() * 1_000;
  }

  /** A record that stands still looks as if nobody drove its migration: progress is committed on time, not with the next. */
  #writeLater(): void {
    if (this.#pending === "nothing" || this.#cancelLater !== null) return;
    const { clock } = this.#ports;
    const sinceMs = Math.floor((clock.unixUs() - this.#committedAtUnixUs) / 1_000);
    this.#cancelLater = clock.after(Math.max(0, this.#listener.progressCommitMs() - sinceMs), () => {
      this.#cancelLater = null;
      if (this.#isDue()) void this.#write();
      else if (!this.#signal.aborted) this.#writeLater();
    });
  }

  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    for (let failures = 0; this.#isDue() && !this.#signal.aborted; ) {
      const outcome = await this.#writeOnce();
      if (outcome === "written") failures = 0;
      else {
        const { backoffMs: firstMs, longestBackoffMs } = this.#limits;
        // A conflict is settled at once, unless it goes on and on.
        const isPressing = outcome === "overtaken" && failures < 2;
        if (!isPressing) {
          this.#rest = new AbortController();
          const either = AbortSignal.any([this.#signal, this.#rest.signal]);
          await pause(this.#ports.clock, backoffMs(failures, firstMs, longestBackoffMs), either);
        }
        failures += 1;
      }
    }
    // In the same turn of the event loop in which nothing was due, or what is heard then would be left there.
    this.#writing = false;
  }

  async #writeOnce(): Promise<"written" | "overtaken" | "failed"> {
    const batch = new Set(this.#uncommitted);
    const over = this.#stored;
    const state = withFacts(this.#heard, { publishedPhases: this.#listener.publishedPhases() });
    try {
      const record = commitState(over.record, state, this.#seenRevision);
      const written = await compareAndSet(this.#ports.store, record, over);
      if (this.#signal.aborted) return "failed";
      if (written.t === "overtaken") {
        if (written.stored === null) this.#listener.onLost();
        else this.#adopt(written.stored);
        return "overtaken";
      }
      this.#uncommitted = this.#uncommitted.filter((heard) => !batch.has(heard));
      this.#adopt(written.stored);
      for (const { settle } of batch) settle?.(null);
      return "written";
    } catch (thrown) {
      const { code, message, reason } = SwitchoverError.from(thrown);
      const fields = { ...logFieldsOf(this.#heard), code, reason };
      if (code === "UNAVAILABLE") this.#ports.log.warn(fields, `The store does not take a step: ${message}`);
      else this.#ports.log.error(fields, `The store does not take a step: ${message}`);
      return "failed";
    }
  }

  /** Goes on from what stands in the store, with what was heard and is not committed applied to that. */
  #adopt(stored: StoredRecord): void {
    const { migration } = stored.record;
    const isAnothers = migration?.migration?.migrationId !== this.#committed.migration.migrationId;
    // A newer coordinator has taken it where this one cannot follow.
    if (isAnothers || stored.unknownValues !== undefined) {
      this.#listener.onLost();
      return;
    }
    this.#stored = stored;
    this.#committed = completeState(migration);
    this.#committedAtUnixUs = this.#ports.clock.unixUs();
    this.#heard = this.#committed;
    this.#pending = "nothing";
    for (const heard of this.#uncommitted) {
      const next = this.#transition(this.#heard, heard);
      if (next === null || next.state === this.#heard) continue;
      this.#heard = next.state;
      this.#note(heard.event, next);
    }
    // What the record says already is committed.
    if (this.#pending === "nothing") for (const { settle } of this.#uncommitted.splice(0)) settle?.(null);
    this.#listener.onChange();
  }
}

export function shuttingDown(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "This coordinator has let go of the migration.", {
    reason: "SHUTTING_DOWN",
  });
}

function notCommitted(answerWithinMs: number): SwitchoverError {
  const sentence = `The store did not take it within ${answerWithinMs} ms; it may do so yet.`;
  return new SwitchoverError("UNAVAILABLE", sentence, { reason: "OUTCOME_UNKNOWN" });
}
