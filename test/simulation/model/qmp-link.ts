import { type MigrationProgress, parseMigrationProgress } from "../../../agent/vmm/migration-progress.ts";
import type { QmpAnswer } from "../../../agent/vmm/qmp-requests.ts";
import { parseRunState } from "../../../agent/vmm/run-state.ts";
import type { OnVmmAnswer, Vmm, VmmCommandOptions, VmmEvent, VmmStatus } from "../../../agent/vmm/vmm.ts";
import type { VmmFeatures } from "../../../agent/vmm/vmm-features.ts";
import { type ErrorCode, SwitchoverError } from "../../../proto/error.ts";
import type { Grinder } from "../engine/grain.ts";
import type { Random } from "../engine/random.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import { EPOCH_UNIX_US, type Timeline } from "../engine/timeline.ts";
import type { MonitorClient, Qemu, QemuAnswer, QemuCommand, QemuValue } from "./qemu.ts";

/** Those of agent/vmm/qemu.ts. */
const DEADLINES_MS = { query: 1_000, cpus: 10_000, control: 5_000 } as const;
const CONNECT_TIMEOUT_MS = 2_000;
/** One way through a unix socket and an event loop. */
const DELAY_US = { from: 30, to: 200 } as const;

interface Pending {
  readonly sentAtUnixUs: number;
  readonly cancelDeadline: () => void;
  readonly deliver: (answer: QmpAnswer<QemuValue>) => void;
}

/** What a connection needs from its host. */
export interface QmpLinkParts {
  readonly agent: SimulatedProcess;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly grinder: Grinder;
}

/** Since when an agent hears the QEMU anew, after another one did: 0 for the first, null while none does. */
export function heardAnewSinceUs(qemu: Qemu): number | null {
  const { client } = qemu;
  return client?.isOpen() === true ? client.openedAnewAtUs : null;
}

/** Connects as `openQemu` does, and with its errors. */
export function openQmpLink(
  parts: QmpLinkParts,
  qmpPath: string,
  qemu: Qemu | undefined,
  listener: (event: VmmEvent) => void,
): Promise<Vmm> {
  const { agent, timeline, random } = parts;
  return new Promise((resolve, reject) => {
    let settled = false;
    const cancelDeadline = agent.after(CONNECT_TIMEOUT_MS, () => {
      settled = true;
      reject(broken("UNAVAILABLE", "QMP_BUSY", `${qmpPath} did not greet.`));
    });
    const attempt = (): void => {
      if (settled || agent.state === "dead") return;
      if (qemu === undefined || !qemu.isAlive) {
        settled = true;
        cancelDeadline();
        agent.run(() => reject(broken("UNAVAILABLE", "QMP_UNREACHABLE", `Nobody listens on ${qmpPath}.`)));
        return;
      }
      if (qemu.client?.isOpen() === true || qemu.process.state === "stopped") {
        timeline.after(10_000, attempt);
        return;
      }
      // Greeting and capabilities need the main loop.
      qemu.execute({ name: "query-status" }, () => {
        if (settled || agent.state === "dead") return;
        settled = true;
        cancelDeadline();
        const openedAnewAtUs = qemu.client === null ? 0 : timeline.nowUs;
        const link = new QmpLink(parts, qemu, listener, openedAnewAtUs);
        qemu.client = link;
        agent.run(() => resolve(link));
      });
    };
    timeline.after(random.between(100, 400), attempt);
  });
}

/** A connection to a simulated QEMU's monitor, with the delays and deadlines of a real one. */
export class QmpLink implements Vmm, MonitorClient {
  readonly openedAnewAtUs: number;
  readonly #parts: QmpLinkParts;
  readonly #qemu: Qemu;
  readonly #listener: (event: VmmEvent) => void;
  readonly #pending = new Set<Pending>();
  #state: "open" | "closed" = "open";
  /** When the last thing on its way arrives: order is kept. */
  #toQemuUs = 0;
  #toAgentUs = 0;
  #lastPacket: { readonly sentAtUs: number; readonly works: (() => void)[] } | null = null;

  constructor(parts: QmpLinkParts, qemu: Qemu, listener: (event: VmmEvent) => void, openedAnewAtUs: number) {
    this.openedAnewAtUs = openedAnewAtUs;
    this.#parts = parts;
    this.#qemu = qemu;
    this.#listener = listener;
    qemu.onEvent = (body) => {
      const atUnixUs = EPOCH_UNIX_US + parts.timeline.nowUs;
      this.#bringToAgent(() => {
        listener({ atUnixUs, receivedAtUnixUs: parts.agent.unixUs(), ...body } as VmmEvent);
      });
    };
    qemu.process.onDeath(() => this.#bringToAgent(() => this.#lost()));
    parts.agent.onDeath(() => {
      this.#state = "closed";
    });
  }

  isOpen(): boolean {
    return this.#state === "open";
  }

  sendQueryStatus(onAnswer: OnVmmAnswer<VmmStatus>, options?: VmmCommandOptions): void {
    this.#send({ name: "query-status" }, DEADLINES_MS.query, options, (answer) =>
      onAnswer(map(answer, toStatus)),
    );
  }

  sendQueryMigrate(onAnswer: OnVmmAnswer<MigrationProgress>, options?: VmmCommandOptions): void {
    this.#send({ name: "query-migrate" }, DEADLINES_MS.query, options, (answer) =>
      onAnswer(map(answer, toProgress)),
    );
  }

  sendCont(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#send({ name: "cont" }, DEADLINES_MS.cpus, options, (answer) => onAnswer(map(answer, toNothing)));
  }

  sendStop(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#send({ name: "stop" }, DEADLINES_MS.cpus, options, (answer) => onAnswer(map(answer, toNothing)));
  }

  sendMigrateCancel(onAnswer: OnVmmAnswer<void>, options?: VmmCommandOptions): void {
    this.#send({ name: "migrate_cancel" }, DEADLINES_MS.control, options, (answer) =>
      onAnswer(map(answer, toNothing)),
    );
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
    return this.#control({ name: "quit" }, options);
  }

  setMigrationCapabilities(
    capabilities: Parameters<Vmm["setMigrationCapabilities"]>[0],
    options?: VmmCommandOptions,
  ): Promise<void> {
    return this.#control({ name: "migrate-set-capabilities", capabilities }, options);
  }

  setMigrationParameters(_parameters: unknown, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-set-parameters" }, options);
  }

  secureTransfer(_tls: unknown, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-set-parameters" }, options);
  }

  migrate(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate", uri }, options);
  }

  migrateCancel(options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate_cancel" }, options);
  }

  migrateIncoming(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-incoming", uri }, options);
  }

  migrateStartPostcopy(options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-start-postcopy" }, options);
  }

  migratePause(options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-pause" }, options);
  }

  migrateRecover(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate-recover", uri }, options);
  }

  migrateResume(uri: string, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "migrate", uri, resume: true }, options);
  }

  yankMigration(options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "yank" }, options);
  }

  announceSelf(_schedule: unknown, options?: VmmCommandOptions): Promise<void> {
    return this.#control({ name: "announce-self" }, options);
  }

  async describeFeatures(): Promise<VmmFeatures> {
    const newer = this.#qemu.parts.version === "10.2";
    return {
      version: { major: newer ? 10 : 7, minor: 2, micro: 0, packageText: "" },
      versionText: this.#qemu.parts.version,
      outOfBand: "enabled",
      postcopyDeviceStatus: newer ? "known" : "unknown",
      migrationStatuses: [],
      migrationCapabilities: [],
    };
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#failAll(broken("UNAVAILABLE", "QMP_CLOSED", "The connection was closed."));
  }

  #control(command: QemuCommand, options: VmmCommandOptions | undefined): Promise<void> {
    return promiseOf((onAnswer) =>
      this.#send(command, DEADLINES_MS.control, options, (answer) => onAnswer(map(answer, toNothing))),
    );
  }

  #send(
    command: QemuCommand,
    deadlineMs: number,
    options: VmmCommandOptions | undefined,
    deliver: (answer: QmpAnswer<QemuValue>) => void,
  ): void {
    const { agent, timeline } = this.#parts;
    if (agent.state === "dead") return;
    const sentAtUnixUs = agent.unixUs();
    if (this.#state === "closed") {
      const error = broken("UNAVAILABLE", "QMP_CLOSED", "The connection is closed.");
      const answer = { kind: "failed", error, sentAtUnixUs, receivedAtUnixUs: sentAtUnixUs } as const;
      queueMicrotask(() => agent.run(() => deliver(answer)));
      return;
    }
    const pending: Pending = {
      sentAtUnixUs,
      cancelDeadline: agent.after(options?.timeoutMs ?? deadlineMs, () =>
        this.#settle(pending, failed(timedOut(command.name), pending, agent)),
      ),
      deliver,
    };
    this.#pending.add(pending);
    if (command.name === "cont") {
      this.#qemu.contOnTheWay += 1;
      this.#qemu.contSent = { atUs: timeline.nowUs, agentRunsSinceUs: agent.runsSinceUs };
    }
    this.#toQemuUs = Math.max(this.#toQemuUs + 1, timeline.nowUs + this.#delayUs());
    timeline.after(this.#toQemuUs - timeline.nowUs, () =>
      this.#qemu.process.run(() =>
        this.#qemu.execute(command, (answer) => {
          if (command.name === "cont") this.#qemu.contOnTheWay -= 1;
          const take = () => this.#answer(pending, command, answer);
          if (this.#answersAtOnce(command)) agent.run(take);
          else this.#bringToAgent(take);
        }),
      ),
    );
  }

  #answer(pending: Pending, { name }: QemuCommand, answer: QemuAnswer): void {
    if (answer.kind === "refused") {
      const error = new SwitchoverError("FAILED_PRECONDITION", `QEMU refused "${name}": ${answer.desc}`, {
        reason: "QMP_REFUSED",
        metadata: { command: name, desc: answer.desc },
      });
      this.#settle(pending, failed(error, pending, this.#parts.agent));
      return;
    }
    const { sentAtUnixUs } = pending;
    const receivedAtUnixUs = this.#parts.agent.unixUs();
    this.#settle(pending, { kind: "done", value: answer.value, sentAtUnixUs, receivedAtUnixUs });
  }

  #settle(pending: Pending, answer: QmpAnswer<QemuValue>): void {
    if (!this.#pending.delete(pending)) return;
    pending.cancelDeadline();
    pending.deliver(answer);
  }

  #lost(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    const error = broken("UNAVAILABLE", "QMP_CLOSED", "QEMU closed the connection.");
    this.#failAll(error);
    const atUnixUs = this.#parts.agent.unixUs();
    this.#listener({ kind: "disconnected", error, atUnixUs, receivedAtUnixUs: atUnixUs });
  }

  #failAll(error: SwitchoverError): void {
    for (const pending of [...this.#pending])
      this.#settle(pending, failed(error, pending, this.#parts.agent));
  }

  /** Where nothing is on its way before it; whether CPUs were told to go is always a step of its own. */
  #answersAtOnce({ name }: QemuCommand): boolean {
    const { timeline, grinder } = this.#parts;
    if (name === "cont" || name === "stop" || this.#state !== "open") return false;
    return this.#toAgentUs <= timeline.nowUs && grinder.joins();
  }

  /** In order; what the VMM says at one instant may be read at once. */
  #bringToAgent(work: () => void): void {
    const { agent, timeline, grinder } = this.#parts;
    const last = this.#lastPacket;
    if (last?.sentAtUs === timeline.nowUs && grinder.joins()) {
      last.works.push(work);
      return;
    }
    const packet = { sentAtUs: timeline.nowUs, works: [work] };
    this.#lastPacket = packet;
    this.#toAgentUs = Math.max(this.#toAgentUs + 1, timeline.nowUs + this.#delayUs());
    timeline.after(this.#toAgentUs - timeline.nowUs, () =>
      agent.run(() => {
        for (const next of packet.works) if (this.#state === "open") next();
      }),
    );
  }

  #delayUs(): number {
    return this.#parts.random.between(DELAY_US.from, DELAY_US.to);
  }
}

function map<Value>(answer: QmpAnswer<QemuValue>, read: (value: QemuValue) => Value): QmpAnswer<Value> {
  return answer.kind === "failed" ? answer : { ...answer, value: read(answer.value) };
}

function toStatus(value: QemuValue): VmmStatus {
  if (value === undefined || !("runState" in value)) throw new Error("That is no run state.");
  return { runState: parseRunState(value.runState), runStateText: value.runState, running: value.running };
}

function toProgress(value: QemuValue): MigrationProgress {
  if (value === undefined || !("status" in value)) throw new Error("That is no migration status.");
  const { status, transferredBytes, passes, listensOn } = value;
  return {
    ...parseMigrationProgress({ status }),
    transferredBytes,
    passes,
    addresses: listensOn === undefined ? [] : [{ kind: "inet", host: "10.0.0.1", port: listensOn }],
  };
}

function toNothing(): void {}

function failed(
  error: SwitchoverError,
  { sentAtUnixUs }: Pending,
  agent: SimulatedProcess,
): QmpAnswer<QemuValue> {
  return { kind: "failed", error, sentAtUnixUs, receivedAtUnixUs: agent.unixUs() };
}

function timedOut(command: string): SwitchoverError {
  return new SwitchoverError("DEADLINE_EXCEEDED", `QEMU did not answer "${command}" in time.`, {
    reason: "QMP_TIMEOUT",
    metadata: { command, outcome: "unknown" },
  });
}

function broken(code: ErrorCode, reason: string, sentence: string): SwitchoverError {
  return new SwitchoverError(code, sentence, { reason });
}

function promiseOf<Value>(send: (onAnswer: OnVmmAnswer<Value>) => void): Promise<Value> {
  return new Promise((resolve, reject) => {
    send((answer) => (answer.kind === "done" ? resolve(answer.value) : reject(answer.error)));
  });
}
