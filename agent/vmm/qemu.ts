/**
 * What an agent knows of a VMM, from the ground up: qmp-codec (lines and messages), qmp-requests (commands on the
 * way), qmp-client (one connection), the readers of single answers, and here QEMU as a `Vmm`.
 *
 * Whoever holds one hears every event of that QEMU through `onEvent`, synchronously, with QEMU's own timestamp and
 * the time of receipt. A STOP carries no reason, and neither does RESUME: join them with `sendQueryStatus` and the
 * migration's events.
 */
import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import { readObject, readText, readTruth } from "./json-reader.ts";
import {
  encodeMigrationParameters,
  type MigrationCapabilitySetting,
  type MigrationParameters,
} from "./migration-parameters.ts";
import { type MigrationProgress, parseMigrationProgress } from "./migration-progress.ts";
import { openQmp, type QmpClient, type QmpCommandOptions, type QmpEndpoint } from "./qmp-client.ts";
import type { JsonObject } from "./qmp-codec.ts";
import type { QmpAnswer, QmpMeter } from "./qmp-requests.ts";
import { parseRunState } from "./run-state.ts";
import {
  encodeTlsObjects,
  encodeTlsParameters,
  TRANSFER_TLS_OBJECTS,
  type TransferTls,
} from "./transfer-tls.ts";
import type { AnnounceSchedule, OnVmmAnswer, Vmm, VmmCommandOptions, VmmStatus } from "./vmm.ts";
import { toVmmEvent, type VmmEvent } from "./vmm-event.ts";
import { parseVmmFeatures, type VmmFeatures } from "./vmm-features.ts";
import type { VmmProcess } from "./vmm-process.ts";

export type OpenQemuOptions = QmpEndpoint & {
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
  /** Called inside the data handler, possibly before `openQemu` resolves. Must not throw. */
  readonly onEvent: (event: VmmEvent) => void;
  readonly meter?: QmpMeter;
  readonly onLine?: (direction: "sent" | "received", line: string, atUnixUs: number) => void;
};

/** Milliseconds until a command without an answer counts as having an unknown outcome. */
const DEADLINES_MS = {
  /** Answered from memory by the main loop, within 0.2 ms unless that is stuck. */
  query: 1_000,
  /** These may wait for disks: `cont` activates block devices, `stop` drains them. */
  cpus: 10_000,
  control: 5_000,
} as const;

/** Rejects as `openQmp` does. */
export async function openQemu(options: OpenQemuOptions): Promise<Qemu> {
  const { clock, onEvent } = options;
  const onLateRefusal = ({ message: sentence }: SwitchoverError): void => {
    const atUnixUs = clock.unixUs();
    onEvent({ kind: "startRefused", sentence, atUnixUs, receivedAtUnixUs: atUnixUs });
  };
  return new Qemu(
    await openQmp({
      ...options,
      onEvent: (event) => onEvent(toVmmEvent(event)),
      onClosed: (error, atUnixUs) =>
        onEvent({ kind: "disconnected", error, atUnixUs, receivedAtUnixUs: atUnixUs }),
    }),
    onLateRefusal,
  );
}

export class Qemu implements Vmm {
  readonly #qmp: QmpClient;
  readonly #onStartRefusedLate: (error: SwitchoverError) => void;
  /** How often the CPUs were to be started: what became of an earlier start says nothing of a later one. */
  #starts = 0;

  constructor(qmp: QmpClient, onStartRefusedLate: (error: SwitchoverError) => void) {
    this.#qmp = qmp;
    this.#onStartRefusedLate = onStartRefusedLate;
  }

  get process(): VmmProcess | undefined {
    return this.#qmp.process;
  }

  sendQueryStatus(onAnswer: OnVmmAnswer<VmmStatus>, options?: VmmCommandOptions): void {
    this.#send("query-status", DEADLINES_MS.query, parseStatus, onAnswer, options);
  }

  sendQueryMigrate(onAnswer: OnVmmAnswer<MigrationProgress>, options?: VmmCommandOptions): void {
    this.#send("query-migrate", DEADLINES_MS.query, parseMigrationProgress, onAnswer, options);
  }

  sendCont(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#starts += 1;
    const start = this.#starts;
    const onLateRefusal = (error: SwitchoverError): void => {
      if (start === this.#starts) this.#onStartRefusedLate(error);
    };
    this.#send("cont", DEADLINES_MS.cpus, ignoreValue, onAnswer, { ...options, onLateRefusal });
  }

  sendStop(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#send("stop", DEADLINES_MS.cpus, ignoreValue, onAnswer, options);
  }

  sendMigrateCancel(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#send("migrate_cancel", DEADLINES_MS.control, ignoreValue, onAnswer, options);
  }

  queryStatus(options?: VmmCommandOptions): Promise<VmmStatus> {
    return promiseOf((onAnswer) => this.sendQueryStatus(onAnswer, options));
  }

  queryMigrate(options?: VmmCommandOptions): Promise<MigrationProgress> {
    return promiseOf((onAnswer) => this.sendQueryMigrate(onAnswer, options));
  }

  cont(options?: VmmCommandOptions): Promise<void> {
    return promiseOf((onAnswer) => this.sendCont(onAnswer, options));
  }

  stop(options?: VmmCommandOptions): Promise<void> {
    return promiseOf((onAnswer) => this.sendStop(onAnswer, options));
  }

  quit(options?: VmmCommandOptions): Promise<void> {
    return this.#control("quit", undefined, options);
  }

  setMigrationCapabilities(
    settings: readonly MigrationCapabilitySetting[],
    options?: VmmCommandOptions,
  ): Promise<void> {
    const capabilities = settings.map(({ capability, enabled }) => ({ capability, state: enabled }));
    return this.#control("migrate-set-capabilities", { capabilities }, options);
  }

  async setMigrationParameters(parameters: MigrationParameters, options?: VmmCommandOptions): Promise<void> {
    await this.#control("migrate-set-parameters", encodeMigrationParameters(parameters), options);
  }

  async secureTransfer(tls: TransferTls, options?: VmmCommandOptions): Promise<void> {
    for (const id of TRANSFER_TLS_OBJECTS) {
      await this.#control("object-del", { id }, options).catch((thrown: unknown) => {
        if (SwitchoverError.from(thrown).reason !== "QMP_REFUSED") throw thrown;
      });
    }
    for (const object of encodeTlsObjects(tls)) await this.#control("object-add", object, options);
    await this.#control("migrate-set-parameters", encodeTlsParameters(tls), options);
  }

  migrate(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control("migrate", { uri }, options);
  }

  migrateCancel(options?: VmmCommandOptions): Promise<void> {
    return promiseOf((onAnswer) => this.sendMigrateCancel(onAnswer, options));
  }

  migrateIncoming(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control("migrate-incoming", { uri }, options);
  }

  migrateStartPostcopy(options?: VmmCommandOptions): Promise<void> {
    return this.#control("migrate-start-postcopy", undefined, options);
  }

  migratePause(options?: VmmCommandOptions): Promise<void> {
    return this.#outOfBand("migrate-pause", undefined, options);
  }

  migrateRecover(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#outOfBand("migrate-recover", { uri }, options);
  }

  migrateResume(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control("migrate", { uri, resume: true }, options);
  }

  yankMigration(options?: VmmCommandOptions): Promise<void> {
    return this.#outOfBand("yank", { instances: [{ type: "migration" }] }, options);
  }

  announceSelf(schedule: AnnounceSchedule, options?: VmmCommandOptions): Promise<void> {
    const { rounds, initialMs, maxMs, stepMs } = schedule;
    return this.#control("announce-self", { rounds, initial: initialMs, max: maxMs, step: stepMs }, options);
  }

  async describeFeatures(options?: VmmCommandOptions): Promise<VmmFeatures> {
    const deadline = { timeoutMs: options?.timeoutMs ?? DEADLINES_MS.control };
    const [version, schema] = await Promise.all([
      this.#qmp.execute("query-version", undefined, deadline),
      this.#qmp.execute("query-qmp-schema", undefined, deadline),
    ]);
    return parseVmmFeatures(version, schema, this.#qmp.outOfBand);
  }

  close(): void {
    this.#qmp.close();
  }

  #send<Value>(
    command: string,
    deadlineMs: number,
    read: (value: unknown) => Value,
    onAnswer: OnVmmAnswer<Value>,
    options: (VmmCommandOptions & Pick<QmpCommandOptions, "onLateRefusal">) | undefined,
  ): void {
    this.#qmp.send(command, undefined, (answer) => onAnswer(readAnswer(answer, read)), {
      timeoutMs: options?.timeoutMs ?? deadlineMs,
      onLateRefusal: options?.onLateRefusal,
    });
  }

  async #control(
    command: string,
    args: JsonObject | undefined,
    options: VmmCommandOptions | undefined,
  ): Promise<void> {
    await this.#qmp.execute(command, args, { timeoutMs: options?.timeoutMs ?? DEADLINES_MS.control });
  }

  async #outOfBand(
    command: string,
    args: JsonObject | undefined,
    options: VmmCommandOptions | undefined,
  ): Promise<void> {
    if (this.#qmp.outOfBand === "not-offered") return this.#control(command, args, options);
    await this.#qmp.executeOutOfBand(command, args, {
      timeoutMs: options?.timeoutMs ?? DEADLINES_MS.control,
    });
  }
}

function parseStatus(value: unknown): VmmStatus {
  const answer = readObject(value, "query-status");
  const runStateText = readText(answer, "status", "query-status");
  return {
    runState: parseRunState(runStateText),
    runStateText,
    running: readTruth(answer, "running", "query-status"),
  };
}

function ignoreValue(): void {}

function readAnswer<Value>(answer: QmpAnswer, read: (value: unknown) => Value): QmpAnswer<Value> {
  if (answer.kind === "failed") return answer;
  try {
    return { ...answer, value: read(answer.value) };
  } catch (thrown) {
    const { sentAtUnixUs, receivedAtUnixUs } = answer;
    return { kind: "failed", error: SwitchoverError.from(thrown), sentAtUnixUs, receivedAtUnixUs };
  }
}

function promiseOf<Value>(send: (onAnswer: OnVmmAnswer<Value>) => void): Promise<Value> {
  return new Promise((resolve, reject) => {
    send((answer) => (answer.kind === "done" ? resolve(answer.value) : reject(answer.error)));
  });
}
