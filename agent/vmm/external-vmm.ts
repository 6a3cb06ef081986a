import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import { type MigrationProgress, parseMigrationProgress } from "./migration-progress.ts";
import { parseRunState } from "./run-state.ts";
import type { OnVmmAnswer, Vmm, VmmCommandOptions, VmmEvent, VmmStatus } from "./vmm.ts";
import type { VmmEventBody } from "./vmm-event.ts";
import type { VmmFeatures } from "./vmm-features.ts";
import { newsOf, type VmmNews } from "./vmm-news.ts";
import {
  completeReport,
  GONE,
  isEnded,
  isOvertaken,
  isSame,
  type VmmReport,
  type VmmTold,
} from "./vmm-report.ts";

/** As long as QEMU has for it. */
const START_WITHIN_MS = 10_000;

/** What a transfer's VMM was asked for and has not told of since. */
export type TransferRequest = "cancelTransfer" | "pauseTransfer" | "recoverTransfer";

/** An owner states `postcopy-active` of a stopped source only where nothing can fail back: as QEMU 10.2 says it. */
export const EXTERNAL_VMM_FEATURES: VmmFeatures = {
  version: { major: 0, minor: 0, micro: 0, packageText: "" },
  versionText: "driven by its owner",
  outOfBand: "not-offered",
  postcopyDeviceStatus: "known",
  migrationStatuses: [],
  migrationCapabilities: [],
};

export interface ExternalVmmPorts {
  readonly clock: Clock;
  /** Outlives this agent once it returns; what it throws does not keep the gate from acting. */
  readonly remember: (report: VmmReport) => void;
}

/** `overdue`: not answered in time, and the owner may still start the CPUs, or refuse to. */
type DemandedStart =
  | { readonly kind: "none" }
  | { readonly kind: "awaited"; readonly onAnswer: OnVmmAnswer<void>; readonly cancelTimer: () => void }
  | { readonly kind: "overdue" };

const NO_START: DemandedStart = { kind: "none" };

/**
 * A VMM that its owner drives, as the gate sees it: what the owner reports is what QMP would have told, in the order in
 * which QEMU tells it, and commands are requests that the owner reads and carries out in its own time. Transfers are the
 * owner's to configure, and the VMM announces its guest itself.
 *
 * Questions are answered from the last report. While a VMM waits for its guest, the gate's question how it stands waits
 * for the report that says otherwise.
 */
export class ExternalVmm implements Vmm {
  readonly #ports: ExternalVmmPorts;
  readonly #requests = new Set<TransferRequest>();
  readonly #waiting: OnVmmAnswer<VmmStatus>[] = [];
  #hear: (event: VmmEvent) => void = () => {};
  #report: VmmReport;
  #memory: "whole" | "lacks the last report" = "whole";
  #transfer: "none" | "begun";
  #statusIs: VmmNews["statusIs"] = "current";
  #start: DemandedStart = NO_START;

  /** `transfer`: `begun` where it was to begin one and has not told of its end. */
  constructor(ports: ExternalVmmPorts, known: VmmReport, transfer: "none" | "begun") {
    this.#ports = ports;
    this.#report = known;
    this.#transfer = transfer;
  }

  /** Each event within the `report` that tells it. */
  hear(listener: (event: VmmEvent) => void): void {
    this.#hear = listener;
  }

  get requests(): ReadonlySet<TransferRequest> {
    return this.#requests;
  }

  /** Where it was last told to send its guest; may be empty. */
  get transferUri(): string {
    return this.#report.transferUri ?? "";
  }

  /**
   * Has the gate hear what is new in it, before it returns. An older report than the last changes nothing. Throws what kept
   * it from being remembered, once the gate has acted; told again it is remembered then.
   */
  report(told: VmmTold): "changed" | "already so" {
    const before = this.#report;
    if (before.runState === GONE || isOvertaken(told, before, this.#ports.clock.unixUs()))
      return "already so";
    const after = completeReport(before, told, this.#transfer);
    this.#report = after;
    const changed = !isSame(before, after);
    const fault = changed || this.#memory !== "whole" ? this.#remember() : null;
    const heard = this.#tell(before, after, told);
    if (fault !== null) throw fault;
    return changed || heard ? "changed" : "already so";
  }

  #remember(): unknown {
    try {
      this.#ports.remember(this.#report);
      this.#memory = "whole";
      return null;
    } catch (thrown) {
      this.#memory = "lacks the last report";
      return thrown;
    }
  }

  #tell(before: VmmReport, after: VmmReport, told: VmmTold): boolean {
    const { events, statusIs } = newsOf(before, after, told, this.#statusIs);
    this.#statusIs = statusIs;
    if (isEnded(told.transferStatus)) this.#transfer = "none";
    this.#forgetRequests(told.transferStatus);
    const isRefused = told.startRefusal !== "" && after.cpus === "stopped" && this.#start.kind !== "none";
    if (after.cpus === "running") this.#confirmStart();
    for (const event of events) this.#say(event, after.observedAtUnixUs);
    if (isRefused) this.#refuseStart(told.startRefusal);
    this.#answerWaiting();
    return events.length > 0 || isRefused;
  }

  #forgetRequests(status: string): void {
    if (status === "postcopy-paused") this.#requests.delete("pauseTransfer");
    if (status.startsWith("postcopy-recover") || status === "postcopy-active") {
      this.#requests.delete("recoverTransfer");
    }
    if (isEnded(status)) this.#requests.clear();
  }

  #say(body: VmmEventBody, observedAtUnixUs = 0): void {
    const receivedAtUnixUs = this.#ports.clock.unixUs();
    const isTold = observedAtUnixUs > 0 && observedAtUnixUs < receivedAtUnixUs;
    this.#hear({ ...body, atUnixUs: isTold ? observedAtUnixUs : receivedAtUnixUs, receivedAtUnixUs });
  }

  #confirmStart(): void {
    const start = this.#endStart();
    if (start.kind === "awaited") this.#answer(start.onAnswer, undefined);
  }

  #refuseStart(sentence: string): void {
    const start = this.#endStart();
    if (start.kind === "awaited") this.#answer(start.onAnswer, refusal(sentence));
    if (start.kind === "overdue") this.#say({ kind: "startRefused", sentence });
  }

  /** What was demanded until now. */
  #endStart(): DemandedStart {
    const start = this.#start;
    this.#start = NO_START;
    if (start.kind === "awaited") start.cancelTimer();
    return start;
  }

  #answerWaiting(): void {
    if (this.#report.runState === "inmigrate") return;
    for (const onAnswer of this.#waiting.splice(0)) this.#answer(onAnswer, this.#status());
  }

  #answer<Value>(onAnswer: OnVmmAnswer<Value>, answer: Value | SwitchoverError): void {
    const at = this.#ports.clock.unixUs();
    const times = { sentAtUnixUs: at, receivedAtUnixUs: at };
    if (answer instanceof SwitchoverError) onAnswer({ kind: "failed", error: answer, ...times });
    else onAnswer({ kind: "done", value: answer, ...times });
  }

  #status(): VmmStatus {
    const { cpus, runState } = this.#report;
    return { runState: parseRunState(runState), runStateText: runState, running: cpus === "running" };
  }

  /** Of a transfer that is to begin nobody knows that it has not. */
  #progress(): MigrationProgress {
    const { transferStatus } = this.#report;
    const isUntold = this.#transfer === "begun" && transferStatus === "none";
    return parseMigrationProgress({ status: isUntold ? "setup" : transferStatus });
  }

  sendQueryStatus(onAnswer: OnVmmAnswer<VmmStatus>): void {
    if (this.#report.runState === "inmigrate") this.#waiting.push(onAnswer);
    else queueMicrotask(() => this.#answer(onAnswer, this.#status()));
  }

  sendQueryMigrate(onAnswer: OnVmmAnswer<MigrationProgress>): void {
    queueMicrotask(() => this.#answer(onAnswer, this.#progress()));
  }

  /** A demand to start; refused by the owner's word alone, which after 10 s without an answer comes as an event. */
  sendCont(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#endStart();
    const timeoutMs = options?.timeoutMs ?? START_WITHIN_MS;
    const cancelTimer = this.#ports.clock.after(timeoutMs, () => {
      this.#start = { kind: "overdue" };
      this.#answer(onAnswer, unanswered(timeoutMs));
    });
    this.#start = { kind: "awaited", onAnswer, cancelTimer };
  }

  /** CPUs that run are the owner's to stop; a start that it has not told of is taken back, which STOP tells. */
  sendStop(onAnswer: OnVmmAnswer<void>): void {
    queueMicrotask(() => {
      const start = this.#endStart();
      if (start.kind === "awaited" && this.#report.cpus === "stopped") {
        this.#say({ kind: "stop" });
      }
      this.#answer(onAnswer, undefined);
    });
  }

  sendMigrateCancel(onAnswer: OnVmmAnswer<void>): void {
    if (!isEnded(this.#report.transferStatus)) this.#requests.add("cancelTransfer");
    queueMicrotask(() => this.#answer(onAnswer, undefined));
  }

  async queryStatus(): Promise<VmmStatus> {
    return this.#status();
  }

  async queryMigrate(): Promise<MigrationProgress> {
    return this.#progress();
  }

  cont(options?: VmmCommandOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.sendCont((answer) => (answer.kind === "done" ? resolve() : reject(answer.error)), options);
    });
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.sendStop(() => resolve()));
  }

  /** What was told of an older transfer is over. */
  async migrate(transferUri: string): Promise<void> {
    this.#transfer = "begun";
    this.#report = { ...this.#report, transferStatus: "none", transferUri };
    const fault = this.#remember();
    if (fault !== null) throw fault;
  }

  migrateCancel(): Promise<void> {
    return new Promise((resolve) => this.sendMigrateCancel(() => resolve()));
  }

  async migratePause(): Promise<void> {
    this.#requests.add("pauseTransfer");
  }

  async migrateRecover(): Promise<void> {
    this.#requests.add("recoverTransfer");
  }

  async migrateResume(): Promise<void> {
    this.#requests.add("recoverTransfer");
  }

  async yankMigration(): Promise<void> {
    this.#requests.add("cancelTransfer");
  }

  async describeFeatures(): Promise<VmmFeatures> {
    return EXTERNAL_VMM_FEATURES;
  }

  /** The gate waits for its end as for that of one that was told to quit. */
  async quit(): Promise<void> {}
  async setMigrationCapabilities(): Promise<void> {}
  async setMigrationParameters(): Promise<void> {}
  /** The stream is between the owners of both VMMs. */
  async secureTransfer(): Promise<void> {}
  async migrateIncoming(): Promise<void> {}
  async migrateStartPostcopy(): Promise<void> {}
  async announceSelf(): Promise<void> {}

  close(): void {
    this.#endStart();
    this.#waiting.length = 0;
    this.#hear = () => {};
  }
}

function refusal(sentence: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", sentence, { reason: "QMP_REFUSED" });
}

function unanswered(timeoutMs: number): SwitchoverError {
  return new SwitchoverError(
    "DEADLINE_EXCEEDED",
    `Its owner has not told within ${timeoutMs} ms that the CPUs run.`,
    { reason: "QMP_TIMEOUT" },
  );
}
