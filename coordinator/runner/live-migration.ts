import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";
import type { HostId, MigrationId } from "../../proto/ids.ts";
import { agentEventOf } from "../migration/agent-event.ts";
import { nextSequence } from "../migration/agent-words.ts";
import {
  type CompleteState,
  completeState,
  guestIdOf,
  hostOf,
  logFieldsOf,
  migrationIdIn,
  type Side,
} from "../migration/complete-state.ts";
import { deadlinesOf } from "../migration/deadlines.ts";
import { isDone } from "../migration/facts.ts";
import { commandKey, type MigrationCommand } from "../migration/migration-command.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { outstandingCommands, type Transition, transition } from "../migration/transition.ts";
import { compareAndSet } from "../record/compare-and-set.ts";
import { commitState } from "../record/guest-record.ts";
import type { StoredRecord } from "../record/record-store.ts";
import { DeadlineTimers } from "./deadline-timers.ts";
import { driveCommand } from "./drive-command.ts";
import { finishMigration } from "./finish-migration.ts";
import { HostFollower } from "./follow-host.ts";
import { backoffMs, pause } from "./pause.ts";
import { PhaseOutbox } from "./phase-outbox.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

interface QueuedEvent {
  readonly event: MigrationEvent;
  readonly route: "feed" | "follow" | "own";
  readonly settled?: (error: SwitchoverError | null) => void;
}

/**
 * One migration while this coordinator drives it. Events take turns; each is applied to the committed state, the
 * result is committed, and only then are its phases published and its commands driven:
 *
 *   event -> transition -> compare-and-set -> feed, commands, deadlines, followed hosts
 *                 ^              | lost: the record as it stands now is taken up, and the event applied to that
 *                 `--------------'
 *
 * Nothing here decides anything, and nothing is lost with it: the record, and the agents that remember what they
 * said, are enough for any coordinator to go on.
 */
export class LiveMigration {
  readonly migrationId: MigrationId;
  readonly #ports: RunnerPorts;
  readonly #limits: RunnerLimits;
  readonly #onChange: (migration: Migration) => void;
  readonly #closed = new AbortController();
  readonly #queue: QueuedEvent[] = [];
  readonly #inFlight = new Set<string>();
  readonly #followers = new Map<HostId, HostFollower>();
  readonly #deadlines: DeadlineTimers;
  readonly #outbox: PhaseOutbox;
  readonly #finished: Promise<void>;
  #markFinished: () => void = () => undefined;
  #takingTurns = false;
  #stored: StoredRecord;
  /** The committed state, and on top of it progress that is not worth a commit. */
  #state: CompleteState;
  #committedAtUnixUs: number;

  constructor(
    stored: StoredRecord,
    state: CompleteState,
    ports: RunnerPorts,
    limits: RunnerLimits,
    onChange: (migration: Migration) => void,
  ) {
    this.#stored = stored;
    this.#state = state;
    this.#ports = ports;
    this.#limits = limits;
    this.#onChange = onChange;
    this.migrationId = migrationIdIn(state);
    this.#committedAtUnixUs = ports.clock.unixUs();
    this.#outbox = new PhaseOutbox(state, ports, limits, this.#closed.signal);
    this.#deadlines = new DeadlineTimers(ports.clock, (deadline) =>
      this.#offer({ event: { t: "DeadlinePassed", deadline }, route: "own" }),
    );
    this.#finished = new Promise((resolve) => {
      this.#markFinished = resolve;
    });
  }

  /** Takes the migration up where its record stands. */
  start(): void {
    this.#pursue(outstandingCommands(this.#state));
    if (this.#state.migration.phase === Phase.PENDING)
      this.#offer({ event: { t: "Admitted" }, route: "own" });
  }

  /** The migration as it stands, with the newest progress. */
  get migration(): Migration {
    return this.#state.migration;
  }

  /** Resolves once the migration has ended and is archived, or was closed. */
  get finished(): Promise<void> {
    return this.#finished;
  }

  /** Takes an agent's word that came with the feed. */
  hearFromFeed(message: FeedEvent): void {
    this.#hear(message, "feed");
  }

  /** Resolves once the event has been applied and what came of it is committed. */
  tell(event: MigrationEvent): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#offer({
        event,
        route: "own",
        settled: (error) => (error === null ? resolve() : reject(error)),
      });
    });
  }

  /** Lets go of the migration as it stands; another coordinator, or this one later, goes on from its record. */
  close(): void {
    this.#closed.abort();
    this.#endPursuits();
    for (const { settled } of this.#queue.splice(0)) settled?.(shuttingDown());
    this.#markFinished();
  }

  #hear(message: FeedEvent, route: "feed" | "follow"): void {
    const event = agentEventOf(message);
    if (event === null || event.migrationId !== this.migrationId) return;
    this.#offer({ event, route });
  }

  #offer(queued: QueuedEvent): void {
    if (this.#closed.signal.aborted) {
      queued.settled?.(shuttingDown());
      return;
    }
    // An agent's word that finds no room leaves a gap, which its next one shows and a new stream fills.
    if (queued.route !== "own" && this.#queue.length >= this.#limits.queuedEvents) return;
    this.#queue.push(queued);
    if (!this.#takingTurns) void this.#takeTurns();
  }

  async #takeTurns(): Promise<void> {
    this.#takingTurns = true;
    for (let queued = this.#queue.shift(); queued !== undefined; queued = this.#queue.shift()) {
      try {
        await this.#apply(queued);
        queued.settled?.(null);
      } catch (thrown) {
        const error = SwitchoverError.from(thrown);
        const { code, reason } = error;
        const fields = { ...logFieldsOf(this.#state), event: queued.event.t, code, reason };
        if (!this.#closed.signal.aborted) {
          this.#ports.log.error(fields, `An event was not taken in: ${error.message}`);
        }
        queued.settled?.(error);
      }
    }
    // In the same turn of the event loop in which the queue was seen empty, or what comes then would be left there.
    this.#takingTurns = false;
  }

  async #apply({ event, route }: QueuedEvent): Promise<void> {
    for (let attempt = 0; !this.#closed.signal.aborted; attempt += 1) {
      if (route === "follow") this.#fetchWhatIsMissing(event);
      const next = transition(this.#state, event, this.#nowUnixUs());
      if (next.state === this.#state) return;
      if (event.t === "TransferProgressed" && this.#isProgressOnly(next)) {
        this.#keepProgress(next.state);
        return;
      }
      if ((await this.#commit(next, attempt)) === "again") continue;
      this.#log(event, next);
      return;
    }
    throw shuttingDown();
  }

  /** The stream brought a later word than the next: what was heard and not committed was lost with a conflict. */
  #fetchWhatIsMissing(event: MigrationEvent): void {
    if (!("sequence" in event)) return;
    if (event.sequence > nextSequence(this.#state, event.hostId)) {
      this.#followers.get(event.hostId as HostId)?.fetchAgain();
    }
  }

  #isProgressOnly(next: Transition): boolean {
    if (next.commands.length > 0 || next.phasesEntered.length > 0) return false;
    const { clock } = this.#ports;
    return clock.unixUs() - this.#committedAtUnixUs < this.#limits.progressCommitMs * 1_000;
  }

  #keepProgress(state: CompleteState): void {
    this.#state = state;
    this.#onChange(state.migration);
  }

  /** "again": the record was changed by somebody else and is taken up; the event has yet to be applied to it. */
  async #commit(next: Transition, attempt: number): Promise<"committed" | "again"> {
    const state = { ...next.state, publishedPhases: this.#outbox.published };
    try {
      const written = await compareAndSet(
        this.#ports.store,
        commitState(this.#stored.record, state),
        this.#stored,
      );
      if (written.t === "overtaken") {
        this.#takeUp(written.stored);
        if (attempt + 1 >= this.#limits.storeAttempts) throw overtaken();
        return "again";
      }
      this.#adopt(written.stored);
      this.#pursue(next.commands);
      return "committed";
    } catch (thrown) {
      const error = SwitchoverError.from(thrown);
      if (error.code === "INTERNAL" || attempt + 1 >= this.#limits.storeAttempts) {
        await this.#startAgain();
        throw error;
      }
      const waitMs = backoffMs(attempt, this.#limits.backoffMs, this.#limits.longestBackoffMs);
      await pause(this.#ports.clock, waitMs, this.#closed.signal);
      return "again";
    }
  }

  #adopt(stored: StoredRecord): boolean {
    const { migration } = stored.record;
    if (migration?.migration?.migrationId !== this.migrationId) return false;
    this.#stored = stored;
    this.#state = completeState(migration);
    this.#committedAtUnixUs = this.#ports.clock.unixUs();
    this.#onChange(this.#state.migration);
    return true;
  }

  /** Goes on from what stands in the store; a record that has gone on to another migration ends this one's. */
  #takeUp(stored: StoredRecord | null): void {
    if (stored !== null && this.#adopt(stored)) this.start();
    else this.close();
  }

  /** The store did not answer for long: the event is dropped, and the record taken up as after a crash. */
  async #startAgain(): Promise<void> {
    this.#endPursuits();
    while (!this.#closed.signal.aborted) {
      await pause(this.#ports.clock, this.#limits.longestBackoffMs, this.#closed.signal);
      try {
        this.#takeUp(await this.#ports.store.get(guestIdOf(this.#state)));
        return;
      } catch (thrown) {
        const { message } = SwitchoverError.from(thrown);
        this.#ports.log.warn(logFieldsOf(this.#state), `The record cannot be read: ${message}`);
      }
    }
  }

  #log(event: MigrationEvent, next: Transition): void {
    if (event.t === "AlarmRaised") {
      const fields = { ...logFieldsOf(next.state), host_id: event.hostId, reason: event.reason };
      this.#ports.log.warn(fields, `Alarm: ${event.sentence}`);
    }
    for (const { phase, reason } of next.phasesEntered) {
      const { sourceHostId, destinationHostId } = next.state.migration.spec;
      const fields = {
        ...logFieldsOf(next.state),
        source_host_id: sourceHostId,
        destination_host_id: destinationHostId,
        ...(reason === "" ? {} : { reason }),
      };
      this.#ports.log.info(fields, `The migration is ${phaseToJSON(phase)}.`);
    }
  }

  /** Does what the committed state asks for: the feed, commands, deadlines, streams; or the end. */
  #pursue(commands: readonly MigrationCommand[]): void {
    if (this.#closed.signal.aborted) return;
    if (isTerminal(this.#state.migration.phase)) {
      this.#endPursuits();
      void this.#finish();
      return;
    }
    void this.#outbox.flush(this.#state);
    for (const command of commands) void this.#drive(command);
    this.#deadlines.set(deadlinesOf(this.#state, this.#nowUnixUs(), this.#limits));
    this.#setFollowers();
  }

  async #drive(command: MigrationCommand): Promise<void> {
    const key = commandKey(command);
    if (this.#inFlight.has(key)) return;
    this.#inFlight.add(key);
    const scope = {
      fence: () => this.#state.migration.fence,
      isWanted: () => outstandingCommands(this.#state).some((wanted) => commandKey(wanted) === key),
      signal: this.#closed.signal,
    };
    const answer = await driveCommand(command, scope, this.#ports, this.#limits);
    this.#inFlight.delete(key);
    if (answer !== null) this.#offer({ event: answer, route: "own" });
    // It may have become wanted again while it was being given up.
    else if (!this.#closed.signal.aborted && scope.isWanted()) void this.#drive(command);
  }

  #setFollowers(): void {
    const armed: readonly (readonly [Side, boolean])[] = [
      ["destination", isDone(this.#state, "destination", "prepareDestination")],
      ["source", isDone(this.#state, "source", "armSource")],
    ];
    for (const [side, speaks] of armed) {
      const hostId = hostOf(this.#state, side);
      if (!speaks || this.#state[side].hostDead || this.#followers.has(hostId)) continue;
      const followed = {
        hostId,
        guestId: guestIdOf(this.#state),
        migrationId: this.migrationId,
        heardSequence: () => nextSequence(this.#state, hostId) - 1n,
        onWord: (message: FeedEvent) => this.#hear(message, "follow"),
        onUnreachable: () => this.#offer({ event: { t: "HostUnreachable", side }, route: "own" }),
      };
      this.#followers.set(hostId, new HostFollower(followed, this.#ports, this.#limits));
    }
  }

  #endPursuits(): void {
    this.#deadlines.clear();
    for (const follower of this.#followers.values()) follower.close();
    this.#followers.clear();
  }

  #nowUnixUs(): bigint {
    return BigInt(this.#ports.clock.unixUs());
  }

  async #finish(): Promise<void> {
    for (let attempt = 0; !this.#closed.signal.aborted; attempt += 1) {
      try {
        await this.#outbox.flush(this.#state);
        this.#stored = await finishMigration(this.#stored, this.#ports, this.#limits, this.#closed.signal);
        break;
      } catch (thrown) {
        const { message } = SwitchoverError.from(thrown);
        this.#ports.log.warn(logFieldsOf(this.#state), `Its end is not recorded yet: ${message}`);
        const { backoffMs: firstMs, longestBackoffMs } = this.#limits;
        await pause(this.#ports.clock, backoffMs(attempt, firstMs, longestBackoffMs), this.#closed.signal);
      }
    }
    this.close();
  }
}

function shuttingDown(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "This coordinator has let go of the migration.", {
    reason: "SHUTTING_DOWN",
  });
}

function overtaken(): SwitchoverError {
  return new SwitchoverError("ABORTED", "Others changed the guest's record again and again.", {
    reason: "REVISION_CONFLICT",
  });
}
