import { SwitchoverError } from "../../proto/error.ts";
import { FEED_EVENTS_FORGOTTEN } from "../../proto/feed-reason.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import { Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../proto/ids.ts";
import type { Standby } from "../admission/admission-port.ts";
import { agentEventOf } from "../migration/agent-event.ts";
import { nextSequence } from "../migration/agent-words.ts";
import { type CompleteState, logFieldsOf, migrationIdIn, SIDES } from "../migration/complete-state.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { StoredRecord } from "../record/record-store.ts";
import { finishMigration } from "./finish-migration.ts";
import { MigrationWriter } from "./migration-writer.ts";
import { backoffMs, pause } from "./pause.ts";
import { PhaseOutbox } from "./phase-outbox.ts";
import { Pursuits } from "./pursuits.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

export interface LiveMigrationListener {
  /** Something of it has changed. */
  onChange(migration: Migration): void;
  /** Between two commits that only say how far its transfer is, as things are. */
  progressCommitMs(): number;
}

/**
 * One migration while this coordinator drives it: what it hears goes to its writer, what its state asks for is pursued,
 * its phases go to the feed, and in the end it is finished.
 *
 * Nothing here decides anything, and nothing is lost with it: the record, and the agents that remember what they
 * said, are enough for any coordinator to go on.
 */
export class LiveMigration {
  readonly migrationId: MigrationId;
  readonly #ports: RunnerPorts;
  readonly #limits: RunnerLimits;
  readonly #listener: LiveMigrationListener;
  readonly #closed = new AbortController();
  readonly #writer: MigrationWriter;
  readonly #pursuits: Pursuits;
  readonly #outbox: PhaseOutbox;
  readonly #finished: Promise<void>;
  #markFinished: () => void = () => undefined;
  readonly #standby: Standby;
  #toldPhases: number;
  /** The record that the door has heard of; what is known here is not brought to it by the watch of records. */
  #toldRecord: StoredRecord;
  #leaveLine: () => void = () => undefined;
  #admitted: "here" | "elsewhere or not yet" = "elsewhere or not yet";
  #ending: "open" | "ending" = "open";

  constructor(
    stored: StoredRecord,
    state: CompleteState,
    standby: Standby,
    ports: RunnerPorts,
    limits: RunnerLimits,
    listener: LiveMigrationListener,
  ) {
    this.#standby = standby;
    this.#toldRecord = stored;
    this.#ports = ports;
    this.#limits = limits;
    this.#listener = listener;
    this.migrationId = migrationIdIn(state);
    this.#toldPhases = state.migration.phases.length;
    const { signal } = this.#closed;
    this.#outbox = new PhaseOutbox(state, ports, limits, signal);
    const writerListener = {
      publishedPhases: () => this.#outbox.published,
      progressCommitMs: () => listener.progressCommitMs(),
      onChange: () => this.#pursue(),
      onLost: () => this.close(),
    };
    this.#writer = new MigrationWriter(stored, state, ports, limits, writerListener, signal);
    const onWord = (message: FeedEvent) => this.#hear(message, "follow");
    this.#pursuits = new Pursuits(this.#writer, onWord, ports, limits, signal);
    this.#finished = new Promise((resolve) => {
      this.#markFinished = resolve;
    });
  }

  /** Takes the migration up where its record stands. */
  start(): void {
    const { heard } = this.#writer;
    const waits = heard.migration.phase === Phase.PENDING;
    if (!waits) {
      this.#admitted = "here";
      this.#ports.admission.hear(this.#toldRecord);
    }
    this.#pursue();
    if (waits) this.#leaveLine = this.#ports.admission.enter(heard, this.#standby, () => this.#admit());
  }

  #admit(): void {
    this.#admitted = "here";
    this.#writer.hear({ t: "Admitted" });
  }

  /** The migration as it is committed, with the newest progress. */
  get migration(): Migration {
    const { committed, heard } = this.#writer;
    return { ...committed.migration, progress: heard.migration.progress };
  }

  /** The record that this stands on. */
  get stored(): StoredRecord {
    return this.#writer.stored;
  }

  /** The store's revision of the record that this stands on. */
  get storeRevision(): number {
    return this.#writer.stored.revision;
  }

  /** All that was heard, committed or not. */
  get state(): CompleteState {
    return this.#writer.heard;
  }

  get isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  /** Resolves once the migration has ended and is archived, or was closed. */
  get finished(): Promise<void> {
    return this.#finished;
  }

  /** Whether the host's word of that number is the next to hear: all others teach nothing. */
  awaits(hostId: string, sequence: bigint): boolean {
    return nextSequence(this.#writer.heard, hostId) === sequence;
  }

  /** Takes an agent's word that came with the feed. */
  hearFromFeed(message: FeedEvent): void {
    this.#hear(message, "feed");
  }

  /** Takes the guest's record as it stands in the store. */
  hearFromStore(stored: StoredRecord): void {
    this.#writer.takeUp(stored);
  }

  /** Resolves once the event has been applied and what came of it is committed. */
  tell(event: MigrationEvent): Promise<void> {
    return this.#writer.tell(event);
  }

  /** Lets go of the migration as it stands; another coordinator, or this one later, goes on from its record. */
  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort("closed");
    this.#leaveLine();
    this.#pursuits.end();
    this.#writer.close();
    this.#markFinished();
  }

  #hear(message: FeedEvent, route: "feed" | "follow"): void {
    const event = agentEventOf(message);
    if (event === null || event.migrationId !== this.migrationId) return;
    if (route === "follow") this.#pursuits.fetchBefore(event);
    const before = this.#writer.heard;
    this.#writer.hear(event);
    if (event.t === "EventsForgotten") this.#logForgotten(before, event.hostId);
    if (event.t !== "AlarmRaised" || this.#writer.heard === before) return;
    const fields = { ...logFieldsOf(before), host_id: event.hostId, reason: event.reason };
    this.#ports.log.warn(fields, `Alarm: ${event.sentence}`);
  }

  /** Once, and not for each of them. */
  #logForgotten(before: CompleteState, hostId: string): void {
    const { heard } = this.#writer;
    const isNew = SIDES.some((side) => heard[side].wordsForgotten && !before[side].wordsForgotten);
    if (!isNew) return;
    const fields = { ...logFieldsOf(before), host_id: hostId, reason: FEED_EVENTS_FORGOTTEN };
    this.#ports.log.warn(
      fields,
      "What this host's agent said meanwhile is lost: it is asked for what matters of it.",
    );
  }

  /** Does what the state asks for: the feed, commands, deadlines, streams; or the end. */
  #pursue(): void {
    if (this.#closed.signal.aborted) return;
    const { committed, stored } = this.#writer;
    if (stored !== this.#toldRecord) {
      this.#toldRecord = stored;
      this.#ports.admission.hear(stored);
    }
    this.#listener.onChange(this.migration);
    if (this.#isBegunElsewhere()) {
      this.close();
      return;
    }
    this.#logPhases(committed);
    if (isTerminal(committed.migration.phase)) {
      this.#pursuits.end();
      if (this.#ending === "open") void this.#finish();
      return;
    }
    void this.#outbox.flush(committed);
    this.#pursuits.pursue();
  }

  /**
   * Another coordinator has let it begin, and drives it: one that only waited with it lets go, and is there again should
   * that one fall silent. So a long line is not driven by everybody once it moves.
   */
  #isBegunElsewhere(): boolean {
    const { committed, awaitsCommit } = this.#writer;
    const { phase } = committed.migration;
    if (this.#admitted === "here" || awaitsCommit || committed.cancelAsked) return false;
    return phase !== Phase.PENDING && !isTerminal(phase);
  }

  #logPhases(committed: CompleteState): void {
    const { phases, spec } = committed.migration;
    for (const { phase, reason } of phases.slice(this.#toldPhases)) {
      const fields = {
        source_host_id: spec.sourceHostId,
        destination_host_id: spec.destinationHostId,
        ...logFieldsOf(committed),
        ...(reason === "" ? {} : { reason }),
      };
      this.#ports.log.info(fields, `The migration is ${phaseToJSON(phase)}.`);
    }
    this.#toldPhases = phases.length;
  }

  async #finish(): Promise<void> {
    this.#ending = "ending";
    for (let attempt = 0; !this.#closed.signal.aborted; attempt += 1) {
      try {
        const { committed, stored } = this.#writer;
        await this.#outbox.flush(committed);
        await finishMigration(stored, this.#ports, this.#limits, this.#closed.signal);
        break;
      } catch (thrown) {
        const { message } = SwitchoverError.from(thrown);
        this.#ports.log.warn(logFieldsOf(this.#writer.committed), `Its end is not recorded yet: ${message}`);
        const { backoffMs: firstMs, longestBackoffMs } = this.#limits;
        await pause(this.#ports.clock, backoffMs(attempt, firstMs, longestBackoffMs), this.#closed.signal);
      }
    }
    this.close();
  }
}
