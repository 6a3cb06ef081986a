import type { GivenTrace } from "../../proto/trace-context.ts";
import type { AdmissionPort } from "../admission/admission-port.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { RecordStore } from "../record/record-store.ts";
import type { AgentPort } from "./agent-port.ts";
import type { FeedPort } from "./feed-port.ts";
import type { FencingPort } from "./fencing-port.ts";
import type { MigrationMeter } from "./migration-meter.ts";
import type { PeerPort } from "./peer-port.ts";

/** All that a MigrationRunner needs from outside. It opens and closes nothing that it was given. */
export interface RunnerPorts {
  readonly store: RecordStore;
  readonly agents: AgentPort;
  readonly feed: FeedPort;
  readonly fencing: FencingPort;
  readonly admission: AdmissionPort;
  readonly clock: Clock;
  readonly log: Log;
  /** Without it, others' migrations are noticed by records that stand still. */
  readonly peers?: PeerPort;
  /** Without it nobody counts. */
  readonly meter?: MigrationMeter;
  /** Is told of each migration in which trace its caller's call was; without it nobody is. */
  readonly traces?: TracePort;
}

export interface TracePort {
  note(migrationId: string, trace: GivenTrace): void;
}

/** The runner's bounds. Milliseconds, unless they count. */
export interface RunnerLimits {
  /** One attempt of a command. */
  readonly commandDeadlineMs: number;
  /** How long a command whose host does not answer is tried again before it counts as failed. */
  readonly unansweredForMs: number;
  /** The first pause before another attempt; doubled each time. */
  readonly backoffMs: number;
  readonly longestBackoffMs: number;
  /** How long a broken FollowGuest is opened again before the host counts as unreachable. */
  readonly unreachableAfterMs: number;
  /** How long a host is unreachable before it is fenced, where that alone brings the guest back. */
  readonly fenceAfterMs: number;
  /** How long a caller waits until what it told a migration is committed. */
  readonly answerWithinMs: number;
  /** How long a record must stand still before another coordinator's open migration is driven here too. */
  readonly takeOverAfterMs: number;
  /** The same while it only copies memory and its coordinator is heard; longer than progress waits for its commit. */
  readonly takeOverCopyingAfterMs: number;
  /** Between two commits of one migration that only say how far the transfer is. */
  readonly progressCommitMs: number;
  /** How many of them a second, of all migrations that are driven here: beyond that each waits longer, ... */
  readonly progressCommitsPerSecond: number;
  /** ... and at most for so long. */
  readonly longestProgressCommitMs: number;
  /** What one migration has heard and not committed; beyond that, agents' words are dropped and fetched again. */
  readonly queuedEvents: number;
}

export const DEFAULT_RUNNER_LIMITS: RunnerLimits = {
  commandDeadlineMs: 5_000,
  unansweredForMs: 30_000,
  backoffMs: 50,
  longestBackoffMs: 2_000,
  unreachableAfterMs: 10_000,
  fenceAfterMs: 10_000,
  answerWithinMs: 1_800,
  takeOverAfterMs: 1_500,
  takeOverCopyingAfterMs: 18_000,
  progressCommitMs: 1_000,
  progressCommitsPerSecond: 100,
  longestProgressCommitMs: 10_000,
  queuedEvents: 1_024,
};
