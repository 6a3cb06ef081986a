import type { Guest } from "../../../agent/guest/guest.ts";
import type { GuestOperation } from "../../../agent/guest/guest-operation.ts";
import { bringAbout } from "./bring-about.ts";
import type { ControlPlane } from "./control-plane.ts";
import { HOST_IDS } from "./names.ts";
import type { Operator } from "./operator.ts";
import type { Fault, FaultKind, Mark, Side } from "./schedule.ts";
import type { SimulatedInstance, World } from "./world.ts";

/** Agents are started again by their host's init system, not sooner than this. Microseconds. */
const RESTART_US = 200_000;
const AGENT_ENDS: ReadonlySet<FaultKind> = new Set([
  "agentKilled",
  "hostCrashed",
  "stateLost",
  "hostDeclaredDead",
]);

interface Armed {
  readonly fault: Extract<Fault, { kind: "agentKilledAtOperation" }>;
  readonly hostId: string;
  left: number;
}

/** Brings a schedule's faults about, each at its moment, and undoes them. */
export class FaultInjector {
  readonly happened: FaultKind[] = [];
  readonly #world: World;
  readonly #control: ControlPlane;
  readonly #operator: Operator;
  #migration = -1;
  #state: "harming" | "healed" = "harming";
  #waiting: Fault[] = [];
  #armed: Armed[] = [];
  readonly #passed = new Set<Mark>();
  /** What is still to be undone. */
  readonly #undo = new Set<() => void>();

  constructor(world: World, control: ControlPlane, operator: Operator) {
    this.#world = world;
    this.#control = control;
    this.#operator = operator;
    world.beforeOperation = (hostId, guest, operation) => this.#beforeOperation(hostId, guest, operation);
  }

  /** The so-manyth migration begins. */
  begin(migration: number): void {
    // What comes late, because the one before waited for a person, has nobody to attend to it any more.
    if (this.#state === "healed") return;
    this.#migration = migration;
    this.#passed.clear();
    this.#armed = [];
    this.#waiting = this.#world.schedule.faults.filter(({ when }) => when.migration === migration);
    this.#pass("asked");
  }

  /** Looks which marks the world has reached by now; called after each step. */
  look(): void {
    if (this.#waiting.length === 0) return;
    const { source, destination } = this.#control;
    if (destination === null) return;
    this.#pass("prepared");
    const transfer = source?.qemu.transfer;
    if (transfer == null || transfer.destination !== destination.qemu) return;
    this.#pass("transferring");
    if (source !== null && !source.qemu.isRunning) this.#pass("sourceStopped");
    if (source?.qemu.status === "completed" || source?.qemu.status === "postcopy-active")
      this.#pass("sourceCompleted");
    if (destination.qemu.memory !== null) this.#pass("loaded");
    if (destination.qemu.contOnTheWay > 0) this.#pass("contSent");
    if (destination.qemu.isRunning) this.#pass("resumed");
  }

  /** Undoes everything, and has nothing more happen. */
  heal(): void {
    this.#state = "healed";
    this.#migration = Number.NaN;
    this.#waiting = [];
    this.#armed = [];
    for (const undo of [...this.#undo]) undo();
    this.#world.network.heal();
    for (const hostId of HOST_IDS) this.#world.startAgent(hostId);
    for (let index = 0; index < this.#world.schedule.coordinators; index += 1)
      this.#world.startCoordinator(index);
  }

  #beforeOperation(hostId: string, _guest: Guest, operation: GuestOperation): void {
    if (operation.kind === "journal") {
      if (operation.word.kind === "armed") this.#pass("armed");
      if (operation.word.kind === "handedOff") this.#pass("handedOff");
    }
    for (const armed of this.#armed) {
      if (armed.hostId !== hostId || armed.left < 0) continue;
      armed.left -= 1;
      if (armed.left >= 0) continue;
      this.happened.push(armed.fault.kind);
      this.#killAgent(hostId, armed.fault.forUs);
    }
  }

  #pass(mark: Mark): void {
    if (this.#passed.has(mark)) return;
    this.#passed.add(mark);
    const migration = this.#migration;
    for (const fault of this.#waiting.filter(({ when }) => when.mark === mark)) {
      this.#waiting = this.#waiting.filter((waiting) => waiting !== fault);
      const happen = () => {
        if (this.#migration === migration) this.#happen(fault);
      };
      if (fault.when.afterUs === 0 && mark !== "armed" && mark !== "handedOff") happen();
      else this.#world.timeline.after(fault.when.afterUs, happen);
    }
  }

  #happen(fault: Fault): void {
    const world = this.#world;
    const instance = "side" in fault && fault.side !== "coordinator" ? this.#sideOf(fault.side) : null;
    const hostId = instance?.host.hostId;
    if ("side" in fault && fault.side !== "coordinator" && hostId === undefined) return;
    world.trace?.("FAULT", JSON.stringify(fault));
    if (fault.kind === "agentKilledAtOperation") {
      this.#armed.push({ fault, hostId: hostId ?? "", left: fault.operation });
      return;
    }
    this.happened.push(fault.kind);
    const undo = bringAbout(world, this.#control, this.#operator, fault, instance);
    if (!("forUs" in fault)) this.#undo.add(undo);
    else this.#later(Math.max(AGENT_ENDS.has(fault.kind) ? RESTART_US : 0, fault.forUs), undo);
  }

  #sideOf(side: Side): SimulatedInstance | null {
    return side === "source" ? this.#control.source : this.#control.destination;
  }

  #killAgent(hostId: string, forUs: number): void {
    this.#world.killAgent(hostId);
    this.#later(Math.max(RESTART_US, forUs), () => this.#world.startAgent(hostId));
  }

  #later(delayUs: number, undo: () => void): void {
    const once = () => {
      if (this.#undo.delete(once)) undo();
    };
    this.#undo.add(once);
    this.#world.timeline.after(delayUs, once);
  }
}
