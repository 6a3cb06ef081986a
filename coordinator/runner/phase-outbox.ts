import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, guestIdOf, logFieldsOf, migrationIdIn } from "../migration/complete-state.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { backoffMs, pause } from "./pause.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

/** The feed's message about the phase that was entered as number `sequence`, from 1. */
export function phaseChangedEvent(state: CompleteState, sequence: number): FeedEvent {
  const { phases, fence, outcome, traceparent, tracestate, clockOffset } = state.migration;
  const entry = phases[sequence - 1];
  if (entry === undefined) {
    throw new SwitchoverError("INTERNAL", `The migration has no phase number ${sequence}.`, {
      reason: "PHASE_MISSING",
    });
  }
  return {
    migrationId: migrationIdIn(state),
    guestId: guestIdOf(state),
    hostId: "",
    instanceId: "",
    fence,
    sequence: BigInt(sequence),
    atUnixUs: entry.atUnixUs,
    traceparent,
    tracestate,
    event: {
      $case: "phaseChanged",
      value: {
        from: phases[sequence - 2]?.phase ?? Phase.UNSPECIFIED,
        to: entry.phase,
        outcome: isTerminal(entry.phase) ? outcome : Outcome.UNSPECIFIED,
        reason: entry.reason,
        clockOffset: isTerminal(entry.phase) ? clockOffset : undefined,
      },
    },
  };
}

type OutboxPorts = Pick<RunnerPorts, "feed" | "clock" | "log" | "meter">;

/**
 * Brings a migration's phases to the feed: each once and in order, also across coordinators and crashes. The
 * record is the outbox: a phase is committed before it is published, and what the feed lacks is published by
 * whoever takes the migration up next. Several may do so at a time: the feed takes a phase only after the one before.
 */
export class PhaseOutbox {
  readonly #ports: OutboxPorts;
  readonly #limits: RunnerLimits;
  readonly #signal: AbortSignal;
  #state: CompleteState;
  #published: number;
  #knowsFeed = false;
  #isFlushing = false;
  #flushing: Promise<void> = Promise.resolve();

  constructor(state: CompleteState, ports: OutboxPorts, limits: RunnerLimits, signal: AbortSignal) {
    this.#state = state;
    this.#published = state.publishedPhases;
    this.#ports = ports;
    this.#limits = limits;
    this.#signal = signal;
  }

  /** How many phases the feed is known to hold. */
  get published(): number {
    return this.#published;
  }

  /** Resolves once the feed holds every phase of the committed state, or the signal ended that. Never rejects. */
  flush(state: CompleteState): Promise<void> {
    this.#state = state;
    if (!this.#isFlushing) this.#flushing = this.#publishAll();
    return this.#flushing;
  }

  async #publishAll(): Promise<void> {
    this.#isFlushing = true;
    for (let failures = 0; this.#published < this.#state.migration.phases.length; ) {
      if (this.#signal.aborted) break;
      try {
        await this.#publishNext();
        failures = 0;
      } catch (thrown) {
        const { message, reason } = SwitchoverError.from(thrown);
        const fields = { ...logFieldsOf(this.#state), reason };
        this.#ports.log.warn(fields, `The feed did not take a phase: ${message}`);
        const { backoffMs: firstMs, longestBackoffMs } = this.#limits;
        await pause(this.#ports.clock, backoffMs(failures, firstMs, longestBackoffMs), this.#signal);
        failures += 1;
      }
    }
    // Before anything else can run: what is committed from now on is a new flush's.
    this.#isFlushing = false;
  }

  async #publishNext(): Promise<void> {
    if (!this.#knowsFeed) {
      // A predecessor may have published and died before it could write that down.
      const last = await this.#ports.feed.lastSequence(migrationIdIn(this.#state));
      this.#published = Math.max(this.#published, Number(last));
      this.#knowsFeed = true;
      return;
    }
    const sequence = this.#published + 1;
    const event = phaseChangedEvent(this.#state, sequence);
    await this.#ports.feed.publish(event, `${event.migrationId}:${sequence}`);
    this.#published = sequence;
    const { phase = Phase.UNSPECIFIED } = this.#state.migration.phases[sequence - 1] ?? {};
    this.#ports.meter?.phasePublished(phase, this.#ports.clock.unixUs() - Number(event.atUnixUs));
  }
}
