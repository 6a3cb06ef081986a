import type { VmmEventBody } from "../../../agent/vmm/vmm-event.ts";
import type { Random } from "../engine/random.ts";
import { SimulatedProcess } from "../engine/simulated-process.ts";
import type { Timeline } from "../engine/timeline.ts";
import type { GuestMemory, SimulatedGuest } from "./guest.ts";
import { Transfer } from "./transfer.ts";

/** 7.2 as recorded here; 10.2 has `postcopy-device`, refuses a cancel in post-copy and restores the old run state. */
export type QemuVersion = "7.2" | "10.2";

export type QemuAnswer =
  | { readonly kind: "done"; readonly value: QemuValue }
  | { readonly kind: "refused"; readonly desc: string };

/** What `query-status` and `query-migrate` tell; other commands tell nothing. */
export type QemuValue =
  | undefined
  | { readonly runState: string; readonly running: boolean }
  | {
      readonly status: string;
      readonly transferredBytes: number;
      readonly passes: number;
      readonly listensOn: number | undefined;
    };

export interface QemuCommand {
  readonly name: string;
  /** Of `cont`: somebody who is no agent, and whether the guest is this VMM's to run. */
  readonly by?: "stranger" | "operator";
  /** Of `stop`: default `paused`. */
  readonly runState?: "paused" | "io-error";
  /** Of `migrate`, `migrate-incoming` and `migrate-recover`. */
  readonly uri?: string;
  readonly resume?: boolean;
  readonly capabilities?: readonly { readonly capability: string; readonly enabled: boolean }[];
}

const done: QemuAnswer = { kind: "done", value: undefined };
const OUT_OF_BAND: ReadonlySet<string> = new Set(["migrate-pause", "migrate-recover", "yank"]);

/** How a source finds the QEMU that listens on a port. */
export interface IncomingPorts {
  /** On the port, or on a free one for 0; undefined where somebody else listens there. */
  listen(qemu: Qemu, port: number): number | undefined;
  find(port: number): Qemu | undefined;
}

/** An agent's `cont`, a stranger's, an operator's who knows that the guest is there, or QEMU itself. */
export type StartedBy = "cont" | "stranger" | "operator" | "itself";

export interface QemuParts {
  readonly name: string;
  readonly version: QemuVersion;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly guest: SimulatedGuest;
  readonly ports: IncomingPorts;
  /** A source's CPUs move after about so long a copy. Microseconds. */
  readonly copyUs: number;
  /** How long the pages that are left take in post-copy. Microseconds. */
  readonly pagesUs: number;
}

/** Whom a monitor serves: one at a time. */
export interface MonitorClient {
  /** When it connected, after another one had; 0 for the first. */
  readonly openedAnewAtUs: number;
  isOpen(): boolean;
}

/**
 * QEMU as its monitor shows it: run states, migration statuses, and their order, as recorded from 7.2
 * (test/unit/fixtures/qmp-transcripts, replayed against this by a test) and as 10.2's sources have it.
 */
export class Qemu {
  readonly parts: QemuParts;
  readonly process: SimulatedProcess;
  runState: string;
  /** The run state in which its CPUs last stopped; empty before. */
  stoppedAs = "";
  /** When that was. Microseconds of the run. */
  stoppedAtUs = Number.NEGATIVE_INFINITY;
  memory: GuestMemory | null;
  /** The migration that this QEMU is an end of, or was last. */
  transfer: Transfer | null = null;
  /** Of this end; "none" before. */
  status = "none";
  listensOn: number | undefined;
  /** Told of every event in the moment in which QEMU makes it. */
  onEvent: (event: VmmEventBody) => void = () => {};
  /** Since when the CPUs run or stand. */
  cpusSinceUs: number;
  /** The last that connected to the monitor. A field, for a WeakMap keeps what it holds over young collections. */
  client: MonitorClient | null = null;
  /** How many a `cont` was sent to its monitor and not carried out yet. */
  contOnTheWay = 0;
  /** When an agent last sent one, and since when that agent had run without a break. Microseconds of the run. */
  contSent = { atUs: 0, agentRunsSinceUs: 0 };
  /** Who started the CPUs last. */
  startedBy: StartedBy = "cont";
  #autostart: "no" | "itself" | "stranger" = "itself";
  readonly #capabilities = new Set<string>();
  /** Commands that wait while the main loop is held. */
  readonly #waiting: (() => void)[] = [];
  #mainLoop: "free" | "held" = "free";

  constructor(parts: QemuParts, role: "boot" | "incoming") {
    this.parts = parts;
    this.process = new SimulatedProcess(parts.name, parts.timeline);
    this.runState = role === "boot" ? "prelaunch" : "inmigrate";
    this.memory = role === "boot" ? parts.guest.firstMemory() : null;
    this.cpusSinceUs = parts.timeline.nowUs;
    this.process.onDeath(() => {
      this.cpusSinceUs = parts.timeline.nowUs;
      this.transfer?.endDied(this);
    });
  }

  get isRunning(): boolean {
    return this.runState === "running" && this.process.state !== "dead";
  }

  get isAlive(): boolean {
    return this.process.state !== "dead";
  }

  has(capability: string): boolean {
    return this.#capabilities.has(capability);
  }

  /** Carries a command out when its turn comes, and answers. Out-of-band ones need no main loop. */
  execute(command: QemuCommand, answer: (answer: QemuAnswer) => void): void {
    const work = () => answer(this.#carryOut(command));
    const isNext = this.#mainLoop === "free" && this.#waiting.length === 0;
    if (isNext || OUT_OF_BAND.has(command.name)) work();
    else this.#waiting.push(work);
  }

  holdMainLoop(): void {
    this.#mainLoop = "held";
  }

  /** One command that waited is carried out at once, the others in the next turns of the main loop. */
  releaseMainLoop(): void {
    this.#mainLoop = "free";
    const work = this.#waiting.shift();
    if (work === undefined || !this.isAlive) return;
    work();
    const { timeline, random } = this.parts;
    timeline.after(random.between(10, 150), () =>
      this.process.run(() => {
        if (this.#mainLoop === "free") this.releaseMainLoop();
      }),
    );
  }

  setStatus(status: string): void {
    if (this.status === status) return;
    this.status = status;
    if (!this.has("events")) return;
    this.onEvent({ kind: "migrationStatusChanged", status: status as "active", statusText: status });
  }

  /** Stops the CPUs, with STOP where they ran. */
  stopCpus(runState: string): void {
    const ran = this.isRunning;
    this.runState = runState;
    if (!ran) return;
    this.stoppedAs = runState;
    this.stoppedAtUs = this.parts.timeline.nowUs;
    this.cpusSinceUs = this.parts.timeline.nowUs;
    this.parts.guest.onStop(this);
    this.onEvent({ kind: "stop" });
  }

  resumeCpus(by: StartedBy): void {
    if (this.isRunning) return;
    this.runState = "running";
    this.startedBy = by;
    this.cpusSinceUs = this.parts.timeline.nowUs;
    this.parts.guest.resumed(this);
    this.onEvent({ kind: "resume" });
  }

  /** The load is through: what `-incoming` ends in. */
  finishLoad(): void {
    if (this.#autostart !== "no") this.resumeCpus(this.#autostart);
    else this.runState = "paused";
  }

  /** The guest shuts itself down. */
  shutDownGuest(): void {
    if (!this.isRunning) return;
    this.onEvent({ kind: "shutdown", by: "guest", reason: "guest-shutdown" });
    this.stopCpus("shutdown");
  }

  kill(): void {
    this.process.kill();
  }

  #carryOut(command: QemuCommand): QemuAnswer {
    switch (command.name) {
      case "query-status":
        return { kind: "done", value: { runState: this.runState, running: this.isRunning } };
      case "query-migrate":
        return {
          kind: "done",
          value: {
            status: this.status === "setup" && this.transfer === null ? "none" : this.status,
            transferredBytes: this.transfer?.source === this ? this.transfer.transferredBytes() : 0,
            passes: this.transfer?.passes ?? 0,
            listensOn: this.listensOn,
          },
        };
      case "stop":
        if (this.runState === "inmigrate") this.#autostart = "no";
        else if (this.isRunning) this.stopCpus(command.runState ?? "paused");
        return done;
      case "cont":
        return this.#cont(command.by ?? "cont");
      case "quit":
        this.parts.timeline.after(50, () => this.process.run(() => this.kill()));
        return done;
      case "migrate-set-capabilities":
        for (const { capability, enabled } of command.capabilities ?? []) {
          if (enabled) this.#capabilities.add(capability);
          else this.#capabilities.delete(capability);
        }
        return done;
      case "migrate-incoming":
        return this.#listen(command);
      case "migrate":
        return command.resume === true ? this.#resumeTransfer(command) : this.#migrate(command);
      case "migrate_cancel":
        return this.transfer?.source === this ? this.transfer.cancel() : done;
      case "migrate-start-postcopy":
        return this.transfer?.source === this
          ? this.transfer.startPostCopy()
          : { kind: "refused", desc: "Postcopy must be started after migration has been started" };
      case "migrate-pause":
        return (
          this.transfer?.pause(this) ?? {
            kind: "refused",
            desc: "migrate-pause is currently only supported during postcopy-active state",
          }
        );
      case "migrate-recover":
        return this.#recover(command);
      case "yank":
        if (this.transfer?.isUnderWay() !== true) {
          return { kind: "refused", desc: "Instance 'migration' not found" };
        }
        this.transfer.reset("agent");
        return done;
      default:
        return done;
    }
  }

  #cont(by: StartedBy): QemuAnswer {
    if (this.runState === "inmigrate") this.#autostart = by === "stranger" ? by : "itself";
    else if (this.memory === null || this.runState === "shutdown") {
      return { kind: "refused", desc: "Resetting the Virtual Machine is required" };
    } else this.resumeCpus(by);
    return done;
  }

  #listen({ uri }: QemuCommand): QemuAnswer {
    if (this.runState !== "inmigrate")
      return { kind: "refused", desc: "'-incoming' was not specified on the command line" };
    if (this.listensOn !== undefined)
      return { kind: "refused", desc: "The incoming migration has already been started" };
    const port = this.parts.ports.listen(this, portOf(uri));
    if (port === undefined) return { kind: "refused", desc: "Failed to bind socket: Address already in use" };
    this.setStatus("setup");
    this.listensOn = port;
    return done;
  }

  #migrate({ uri }: QemuCommand): QemuAnswer {
    if (this.runState === "inmigrate")
      return { kind: "refused", desc: "Guest is waiting for an incoming migration" };
    if (this.transfer?.source === this && this.transfer.isUnderWay()) {
      return { kind: "refused", desc: "There's a migration process in progress" };
    }
    if (this.runState === "postmigrate") {
      return { kind: "refused", desc: "Can't migrate the vm that was paused due to previous migration" };
    }
    this.transfer = new Transfer(this, this.parts.ports.find(portOf(uri)));
    return done;
  }

  #resumeTransfer({ uri }: QemuCommand): QemuAnswer {
    if (this.transfer?.source !== this || this.status !== "postcopy-paused") {
      return { kind: "refused", desc: "Cannot resume if there is no paused migration" };
    }
    this.transfer.resume(this.parts.ports.find(portOf(uri)));
    return done;
  }

  #recover({ uri }: QemuCommand): QemuAnswer {
    if (this.transfer?.destination !== this || this.status !== "postcopy-paused") {
      return { kind: "refused", desc: "Migrate recover can only be run when postcopy is paused." };
    }
    if (this.transfer.isListening && this.parts.version === "7.2")
      return { kind: "refused", desc: "Migrate recovery is triggered already" };
    const port = this.parts.ports.listen(this, portOf(uri));
    if (port === undefined) return { kind: "refused", desc: "Failed to bind socket: Address already in use" };
    this.listensOn = port;
    this.transfer.isListening = true;
    // An event of the listening socket's making: the status itself stays as it is.
    if (this.has("events")) {
      this.onEvent({ kind: "migrationStatusChanged", status: "setup", statusText: "setup" });
    }
    return done;
  }
}

function portOf(uri: string | undefined): number {
  return Number(uri?.slice(uri.lastIndexOf(":") + 1) ?? 0);
}
