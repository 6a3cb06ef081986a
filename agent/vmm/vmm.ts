import type { MigrationCapabilitySetting, MigrationParameters } from "./migration-parameters.ts";
import type { MigrationProgress } from "./migration-progress.ts";
import type { QmpAnswer } from "./qmp-requests.ts";
import type { RunState } from "./run-state.ts";
import type { TransferTls } from "./transfer-tls.ts";
import type { VmmFeatures } from "./vmm-features.ts";
import type { VmmProcess } from "./vmm-process.ts";

export type { VmmEvent } from "./vmm-event.ts";

/** One answer to `query-status`. */
export interface VmmStatus {
  readonly runState: RunState;
  /** QEMU's word, also where it is unknown here. */
  readonly runStateText: string;
  /** Whether the guest's CPUs run. */
  readonly running: boolean;
}

/** When QEMU lets a guest's NICs announce themselves (`announce-self`); ms, the pause grows by a step a round. */
export interface AnnounceSchedule {
  readonly rounds: number;
  readonly initialMs: number;
  readonly maxMs: number;
  readonly stepMs: number;
}

/** Replaces a command's own deadline. */
export interface VmmCommandOptions {
  readonly timeoutMs?: number;
}

export type VmmAnswer<Value> = QmpAnswer<Value>;
export type OnVmmAnswer<Value> = (answer: VmmAnswer<Value>) => void;

/**
 * A virtual machine monitor as the guest's gate sees it: QEMU behind QMP (`qemu.ts`), or a model of one.
 *
 * Every command has a deadline and ends in one of four ways: done; refused by the VMM (FAILED_PRECONDITION
 * QMP_REFUSED, its words in `metadata.desc`); no answer in time (DEADLINE_EXCEEDED QMP_TIMEOUT, and its outcome is
 * unknown unless `metadata.outcome` says `not-sent`); connection lost (UNAVAILABLE QMP_CLOSED, outcome unknown).
 * Commands take effect in the order in which they were asked for, except those marked out-of-band.
 *
 * The `send` forms are for switchover: the command leaves within the call, and `onAnswer` is called exactly once,
 * inside the data handler that read the answer and never before the call has returned. Events and answers reach
 * their listeners in the order in which the VMM wrote them.
 */
export interface Vmm {
  /** The process that it is, where that can be seen from here. */
  readonly process?: VmmProcess | undefined;

  /**
   * `query-status`. Events are a little ahead of it: after `completed` a source may still say `finish-migrate` before
   * it says `postmigrate`, and a destination `inmigrate` before `paused`.
   */
  sendQueryStatus(onAnswer: OnVmmAnswer<VmmStatus>, options?: VmmCommandOptions): void;
  /** `query-migrate`. */
  sendQueryMigrate(onAnswer: OnVmmAnswer<MigrationProgress>, options?: VmmCommandOptions): void;
  /** `cont`. RESUME precedes its answer; in `inmigrate` it lets the guest run as soon as the load ends. */
  sendCont(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void;
  /** `stop`. STOP precedes its answer; none comes if the CPUs stood already. In `inmigrate` it clears autostart. */
  sendStop(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void;
  /** `migrate_cancel`: succeeds also where nothing migrates; what came of it is told by events. */
  sendMigrateCancel(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void;

  queryStatus(options?: VmmCommandOptions): Promise<VmmStatus>;
  queryMigrate(options?: VmmCommandOptions): Promise<MigrationProgress>;
  cont(options?: VmmCommandOptions): Promise<void>;
  stop(options?: VmmCommandOptions): Promise<void>;
  /** `quit`: ends the QEMU process; the connection closes after the answer, or instead of it (QMP_CLOSED). */
  quit(options?: VmmCommandOptions): Promise<void>;

  /** `migrate-set-capabilities`; all or none are set. */
  setMigrationCapabilities(
    settings: readonly MigrationCapabilitySetting[],
    options?: VmmCommandOptions,
  ): Promise<void>;
  /** `migrate-set-parameters`; INVALID_ARGUMENT, before anything was sent, for what is no whole number from 0. */
  setMigrationParameters(parameters: MigrationParameters, options?: VmmCommandOptions): Promise<void>;
  /**
   * `object-add` and `migrate-set-parameters` of TLS, in place of those of an earlier migration. FAILED_PRECONDITION
   * QMP_REFUSED where the VMM cannot use the files.
   */
  secureTransfer(tls: TransferTls, options?: VmmCommandOptions): Promise<void>;
  /** `migrate`: resolves once QEMU has begun; a failed connection comes as MIGRATION `failed` with errorDesc. */
  migrate(uri: string, options?: VmmCommandOptions): Promise<void>;
  migrateCancel(options?: VmmCommandOptions): Promise<void>;
  /** `migrate-incoming`: listens; `queryMigrate().addresses` tells the port where the URI ends in `:0`. */
  migrateIncoming(uri: string, options?: VmmCommandOptions): Promise<void>;
  /** `migrate-start-postcopy`: a request; QEMU stops the guest and switches on its own time. */
  migrateStartPostcopy(options?: VmmCommandOptions): Promise<void>;
  /** `migrate-pause`, out-of-band where possible: breaks a stuck post-copy stream so that it can be recovered. */
  migratePause(options?: VmmCommandOptions): Promise<void>;
  /**
   * `migrate-recover`, out-of-band where possible: a paused post-copy destination listens anew on `uri`. Name the port
   * or path: its main loop may be stuck in a page fault, and then nobody can ask which port `:0` became.
   */
  migrateRecover(uri: string, options?: VmmCommandOptions): Promise<void>;
  /** `migrate` with `resume`: a paused post-copy source connects anew. */
  migrateResume(uri: string, options?: VmmCommandOptions): Promise<void>;
  /** `yank` of the migration, out-of-band where possible: its connection breaks as by the network. Since QEMU 6.0. */
  yankMigration(options?: VmmCommandOptions): Promise<void>;
  /** `announce-self`: resolves at once; the rounds go on after it. */
  announceSelf(schedule: AnnounceSchedule, options?: VmmCommandOptions): Promise<void>;
  /** `query-version` and `query-qmp-schema` (0.2 MB): ask once, and not during a switchover. */
  describeFeatures(options?: VmmCommandOptions): Promise<VmmFeatures>;

  /** Lets go of the VMM, which goes on. Pending commands end in QMP_CLOSED; no `disconnected` event. Idempotent. */
  close(): void;
}
