import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import type { HostId } from "../../proto/ids.ts";
import { type MigrationTrace, traceOfMigration } from "../../proto/trace-context.ts";
import { nextSequence } from "../migration/agent-words.ts";
import {
  type CompleteState,
  guestIdOf,
  hostOf,
  migrationIdIn,
  type Side,
} from "../migration/complete-state.ts";
import { deadlinesOf } from "../migration/deadlines.ts";
import { isDone } from "../migration/facts.ts";
import { carriesTheWord, commandKey, type MigrationCommand } from "../migration/migration-command.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import type { FailedAttempt } from "../migration/retries.ts";
import { outstandingCommands } from "../migration/transition.ts";
import { DeadlineTimers } from "./deadline-timers.ts";
import { driveCommand } from "./drive-command.ts";
import { HostFollower } from "./follow-host.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

/** The migration that is pursued. */
export interface Pursued {
  readonly committed: CompleteState;
  readonly heard: CompleteState;
  hear(event: MigrationEvent): void;
  /** An agent refused a fence that is older than this one. */
  overtake(newest: Fence): Promise<void>;
}

/**
 * What a migration's state asks for while it is open: commands, deadlines, and the agents that it listens to. All of it
 * follows from the state, so that pursuing it again changes nothing.
 *
 * Commands wait for the commit that makes them due. Those that carry the source's word do not: GetHandOff changes
 * nothing, and DeliverHandOff brings what the source's own journal says, under an epoch that was committed when both
 * sides were armed. Whatever another coordinator may have committed since, the agents decide by that epoch: a
 * destination that was fenced or handed back under it refuses the word, and one that may start the guest may do so by
 * the journaled word alone, whoever brings it. So a guest whose switchover meets a store that is away goes on.
 */
export class Pursuits {
  readonly #pursued: Pursued;
  readonly #onWord: (message: FeedEvent) => void;
  readonly #ports: RunnerPorts;
  readonly #limits: RunnerLimits;
  readonly #signal: AbortSignal;
  readonly #inFlight = new Set<string>();
  readonly #followers = new Map<HostId, HostFollower>();
  readonly #fetchedFrom = new Map<HostId, bigint>();
  readonly #deadlines: DeadlineTimers;
  readonly #trace: MigrationTrace;

  constructor(
    pursued: Pursued,
    onWord: (message: FeedEvent) => void,
    ports: RunnerPorts,
    limits: RunnerLimits,
    signal: AbortSignal,
  ) {
    this.#pursued = pursued;
    this.#onWord = onWord;
    this.#ports = ports;
    this.#limits = limits;
    this.#signal = signal;
    const { migration } = pursued.committed;
    this.#trace = traceOfMigration(migration.migrationId, migration);
    this.#deadlines = new DeadlineTimers(ports.clock, (deadline) =>
      pursued.hear({ t: "DeadlinePassed", deadline }),
    );
  }

  pursue(): void {
    if (this.#signal.aborted) return;
    const { heard } = this.#pursued;
    for (const command of this.#due()) void this.#drive(command);
    this.#deadlines.set(deadlinesOf(heard, BigInt(this.#ports.clock.unixUs()), this.#limits));
    this.#follow();
  }

  /** The stream brought a later word than the next: those between were let go of, and are fetched again. */
  fetchBefore(event: MigrationEvent): void {
    if (!("sequence" in event)) return;
    if (event.sequence > nextSequence(this.#pursued.heard, event.hostId)) {
      this.#followers.get(event.hostId as HostId)?.fetchAgain();
    }
  }

  end(): void {
    this.#deadlines.clear();
    for (const follower of this.#followers.values()) follower.close();
    this.#followers.clear();
  }

  #due(): readonly MigrationCommand[] {
    const { committed, heard } = this.#pursued;
    const wanted = outstandingCommands(heard);
    const keys = new Set(committed === heard ? [] : outstandingCommands(committed).map(commandKey));
    return wanted.filter(
      (command) =>
        committed === heard ||
        keys.has(commandKey(command)) ||
        (carriesTheWord(command.name) && command.epoch === committed.migration.fence.epoch),
    );
  }

  async #drive(command: MigrationCommand): Promise<void> {
    const key = commandKey(command);
    if (this.#inFlight.has(key)) return;
    this.#inFlight.add(key);
    const scope = {
      fence: () => this.#pursued.committed.migration.fence,
      isWanted: () => outstandingCommands(this.#pursued.heard).some((wanted) => commandKey(wanted) === key),
      onRetried: (attempts: readonly FailedAttempt[]) =>
        this.#pursued.hear({ t: "CommandRetried", side: command.side, name: command.name, attempts }),
      onStaleFence: (newest: Fence) => void this.#pursued.overtake(newest),
      signal: this.#signal,
      trace: this.#trace,
    };
    const answer = await driveCommand(command, scope, this.#ports, this.#limits);
    // Heard before it may be driven again, so that one answer is one attempt.
    if (answer !== null) this.#pursued.hear(answer);
    this.#inFlight.delete(key);
    // It may have become wanted again while it was being given up.
    if (answer === null && !this.#signal.aborted && scope.isWanted()) this.pursue();
  }

  #follow(): void {
    const { heard } = this.#pursued;
    const armed: readonly (readonly [Side, boolean])[] = [
      ["destination", isDone(heard, "destination", "prepareDestination")],
      ["source", isDone(heard, "source", "armSource")],
    ];
    for (const [side, speaks] of armed) {
      const hostId = hostOf(heard, side);
      if (speaks && !heard[side].hostDead) this.#followHost(side, hostId);
    }
  }

  #followHost(side: Side, hostId: HostId): void {
    const heardSequence = () => nextSequence(this.#pursued.heard, hostId) - 1n;
    const present = this.#followers.get(hostId);
    if (present !== undefined) {
      // What was heard and not committed may have been lost to another coordinator's commit.
      if (heardSequence() < (this.#fetchedFrom.get(hostId) ?? 0n)) present.fetchAgain();
      this.#fetchedFrom.set(hostId, heardSequence());
      return;
    }
    this.#fetchedFrom.set(hostId, heardSequence());
    const followed = {
      hostId,
      guestId: guestIdOf(this.#pursued.heard),
      migrationId: migrationIdIn(this.#pursued.heard),
      trace: this.#trace,
      heardSequence,
      onWord: this.#onWord,
      onUnreachable: () => this.#pursued.hear({ t: "HostUnreachable", side }),
    };
    this.#followers.set(hostId, new HostFollower(followed, this.#ports, this.#limits));
  }
}
