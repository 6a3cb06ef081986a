import {
  type CompleteState,
  hostOf,
  newMigrationState,
  type Side,
} from "../../coordinator/migration/complete-state.ts";
import type { CommandName } from "../../coordinator/migration/migration-command.ts";
import type {
  AgentEvent,
  AgentWord,
  CommandReply,
  MigrationEvent,
} from "../../coordinator/migration/migration-event.ts";
import { outstandingCommands, type Transition, transition } from "../../coordinator/migration/transition.ts";
import type { ErrorCode } from "../../proto/error.ts";
import { AnnouncementsEndedBy } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff, NicName } from "../../proto/gen/switchover/v1/guest.ts";
import {
  MigrationMode,
  type MigrationSpec,
  phaseToJSON,
  type TransferProgress,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../proto/ids.ts";

export const MIGRATION_ID = "web-7-mk3v0q8ya1z9" as MigrationId;
const T0 = 1_795_456_900_000_000n;

export function specOf(change: Partial<MigrationSpec> = {}): MigrationSpec {
  return {
    guestId: "web-7",
    sourceHostId: "ha",
    sourceInstanceId: "",
    destinationHostId: "hb",
    destinationInstanceId: "",
    mode: MigrationMode.LIVE,
    transfer: undefined,
    postCopy: undefined,
    labels: {},
    priority: 0,
    deadline: undefined,
    ...change,
  };
}

export function handOffOf(change: Partial<HandOff> = {}): HandOff {
  return {
    migrationId: MIGRATION_ID,
    guestId: "web-7",
    sourceHostId: "ha",
    sourceInstanceId: "a1",
    destinationHostId: "hb",
    fence: { epoch: 1n, revision: 7n },
    runState: "running",
    stoppedAtUnixUs: T0 + 1_000n,
    deregisteredAtUnixUs: T0 + 1_200n,
    journaledAtUnixUs: T0 + 3_000n,
    nics: undefined,
    ...change,
  };
}

export function progressOf(change: Partial<TransferProgress> = {}): TransferProgress {
  return {
    transferredBytes: 1_000_000n,
    remainingBytes: 2_000_000n,
    totalBytes: 3_000_000n,
    rateBitsPerSecond: 240_000_000n,
    passes: 1,
    expectedDowntimeMs: 0,
    ...change,
  };
}

/** `PHASE_COMPLETED` -> `COMPLETED`. */
export function phaseName(phase: Parameters<typeof phaseToJSON>[0]): string {
  return phaseToJSON(phase).replace("PHASE_", "");
}

/** One migration, told event by event; each step is kept as the phases it entered and the commands it made. */
export class Story {
  state: CompleteState;
  last: Transition | null = null;
  readonly events: MigrationEvent[] = [];
  readonly #spoken = new Map<string, bigint>();
  #atUnixUs = T0;

  constructor(spec: MigrationSpec = specOf()) {
    this.state = newMigrationState(MIGRATION_ID, "request-1", spec, { epoch: 1n, revision: 1n }, T0);
  }

  /** Returns what the event led to, as words: `PREPARING | preflight@source preflight@destination`. */
  hear(event: MigrationEvent): string {
    this.#atUnixUs += 10n;
    this.events.push(event);
    this.last = transition(this.state, event, this.#atUnixUs);
    this.state = this.last.state;
    const phases = this.last.phasesEntered.map((entry) => phaseName(entry.phase)).join(" ");
    const commands = this.last.commands.map((command) => `${command.name}@${command.side}`).join(" ");
    return `${phases} | ${commands}`.trim();
  }

  says(side: Side, word: AgentWord, change: Partial<AgentEvent> = {}): string {
    return this.hear(this.wordOf(side, word, change));
  }

  wordOf(side: Side, word: AgentWord, change: Partial<AgentEvent> = {}): AgentEvent {
    const hostId = hostOf(this.state, side);
    const sequence = (this.#spoken.get(hostId) ?? 0n) + 1n;
    this.#spoken.set(hostId, sequence);
    return {
      hostId,
      instanceId: side === "source" ? "a1" : "b1",
      migrationId: MIGRATION_ID,
      epoch: this.state.migration.fence.epoch,
      sequence,
      atUnixUs: T0 + 4_000n,
      ...word,
      ...change,
    } as AgentEvent;
  }

  answers(side: Side, reply: CommandReply): string {
    const epoch =
      reply.name === "preflight" || reply.name === "compareClocks" ? 0n : this.state.migration.fence.epoch;
    return this.hear({ t: "CommandSucceeded", side, epoch, reply });
  }

  fails(side: Side, name: CommandName, code: ErrorCode, reason = "BROKEN"): string {
    const epoch = name === "preflight" || name === "compareClocks" ? 0n : this.state.migration.fence.epoch;
    return this.hear({
      t: "CommandFailed",
      side,
      epoch,
      name,
      error: { code, reason, sentence: `${name} says ${reason}.` },
    });
  }

  passes(
    side: Side,
    runState = side === "source" ? "running" : "inmigrate",
    epoch = 0n,
    nics: readonly NicName[] = [],
  ): string {
    const told = nics.map((nic) => ({ ...nic, device: "tap_on_bridge" }));
    const instance = { instanceId: side === "source" ? "a1" : "b1", runState, epoch, nics: told };
    return this.answers(side, { name: "preflight", refusals: [], instance });
  }

  /** To TRANSFERRING, with the transfer active. */
  toTransferring(runState = "running"): this {
    this.hear({ t: "Admitted" });
    this.passes("source", runState);
    this.passes("destination");
    this.answers("destination", { name: "prepareDestination", incomingUri: "tcp:10.0.0.2:40123" });
    this.answers("source", { name: "armSource", runState });
    this.answers("source", { name: "beginTransfer" });
    this.says("source", { t: "TransferStatusChanged", status: "active", error: "" });
    return this;
  }

  /** To SWITCHING_OVER with the source's CPUs stopped, and nothing handed off. */
  toStopped(): this {
    this.toTransferring();
    this.says("source", { t: "CpusStopped", stoppedAtUnixUs: T0 + 1_000n, receivedAtUnixUs: T0 + 1_050n });
    this.says("source", { t: "NicsDeregistered", deregisteredAtUnixUs: T0 + 1_200n });
    return this;
  }

  handsOff(change: Partial<HandOff> = {}): string {
    return this.says("source", { t: "HandedOff", handOff: handOffOf(change) });
  }

  isReady(): string {
    return this.says("destination", {
      t: "DestinationReady",
      runState: "paused",
      readyAtUnixUs: T0 + 3_500n,
    });
  }

  awaitsHandOff(): string {
    return this.says("destination", { t: "HandOffAwaited", waitedMs: 20 });
  }

  receivesHandOff(): string {
    return this.says("destination", { t: "HandOffReceived", handOff: handOffOf() });
  }

  startsCpus(): string {
    this.says("destination", {
      t: "NicsRegistered",
      registeredAtUnixUs: T0 + 4_100n,
      registrationSentAtUnixUs: T0 + 4_100n,
    });
    return this.says("destination", {
      t: "CpusStarted",
      contSentAtUnixUs: T0 + 4_200n,
      resumedAtUnixUs: T0 + 4_500n,
    });
  }

  announces(round = 1): string {
    return this.says("destination", {
      t: "Announced",
      endedBy: AnnouncementsEndedBy.SCHEDULE,
      firstFrames: [],
      round,
      announcedAtUnixUs: T0 + 4_600n + BigInt(round),
    });
  }

  status(side: Side, status: string, error = ""): string {
    return this.says(side, { t: "TransferStatusChanged", status, error });
  }

  get phase(): string {
    return phaseName(this.state.migration.phase);
  }

  get path(): string[] {
    return this.state.migration.phases.map((entry) => phaseName(entry.phase));
  }
}

export const POST_COPY = specOf({ mode: MigrationMode.POST_COPY });

export function outstanding(story: Story): string[] {
  return outstandingCommands(story.state).map((command) => `${command.name}@${command.side}`);
}

/** Post-copy, with the CPUs at the destination and pages still to come. */
export function inPostCopy(): Story {
  const story = new Story(POST_COPY).toTransferring();
  story.answers("source", { name: "switchToPostCopy" });
  story.status("source", "postcopy-active");
  story.status("destination", "postcopy-active");
  story.handsOff();
  story.isReady();
  story.receivesHandOff();
  story.startsCpus();
  return story;
}
