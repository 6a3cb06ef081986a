import type { BeforeOperation } from "../../../agent/guest/guest-operation.ts";
import { HostAgent } from "../../../agent/host-agent.ts";
import type { Log, LogFields } from "../../../agent/log.ts";
import { OPEN_DOOR } from "../../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../../coordinator/drain/draining-hosts.ts";
import { MigrationApi } from "../../../coordinator/migration-api.ts";
import { MigrationRunner } from "../../../coordinator/runner/migration-runner.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { HostRecord } from "../../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../../proto/ids.ts";
import type { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import { Grinder } from "../engine/grain.ts";
import { Random } from "../engine/random.ts";
import { SimulatedProcess } from "../engine/simulated-process.ts";
import { EPOCH_UNIX_US, Timeline } from "../engine/timeline.ts";
import { agentPortOver } from "../model/agent-wire.ts";
import type { Peer } from "../model/call.ts";
import { SimulatedGuest } from "../model/guest.ts";
import { SimulatedHost, UPLINK } from "../model/host.ts";
import { NATS, SimulatedNats } from "../model/nats.ts";
import { SimulatedNetwork } from "../model/network.ts";
import { Qemu } from "../model/qemu.ts";
import type { Transfer } from "../model/transfer.ts";
import { agentPortsOf } from "./agent-ports.ts";
import type { Breakage } from "./breakage.ts";
import { CommandCarrier } from "./command-carrier.ts";
import { GuestLoss } from "./guest-loss.ts";
import { hasGivenAway, hasSaid } from "./journaled.ts";
import { CONTROL_PLANE, GUEST_ID, HOST_IDS } from "./names.ts";
import type { Registrations } from "./registrations.ts";
import { type NicKind, type Schedule, wiringOf } from "./schedule.ts";

const START_AGAIN_US = 200_000;
const FIRST_PORT = 40_000;
/** Shorter than many faults last. */
const SHORT_PATIENCE_MS = 800;

export interface SimulatedNic {
  readonly nicId: string;
  readonly kind: NicKind;
  /** `open`: plugged in or out in the midst of something, so that it may be registered when the guest runs, or not. */
  readonly standing: "firm" | "open";
  readonly deviceName: string;
  readonly macAddress: string;
}

/** One QEMU of the guest with its devices, as the control plane made them. */
export interface SimulatedInstance {
  readonly instanceId: string;
  readonly host: SimulatedHost;
  readonly qmpPath: string;
  nics: readonly SimulatedNic[];
  readonly qemu: Qemu;
  /** Whether its host's agent may know of it: not once its state directory was lost, until it is adopted anew. */
  isKnown: boolean;
  /** It ran although it had given its guest away when its host lost its state: nobody who looks brings it under a gate. */
  runsAgainstItsWord: boolean;
  /** What was read of its registrations, and when: they are asked for after each step. */
  readonly read: { kernel: PretendedKernel | null; changes: number; registrations: Registrations };
}

export interface LivingAgent extends Peer {
  readonly agent: HostAgent;
}

export interface LivingCoordinator extends Peer {
  readonly runner: MigrationRunner;
  readonly api: MigrationApi;
}

/** Says what happens, where somebody listens. */
export type Trace = (who: string, what: string) => void;

/** Three hosts, one guest, coordinators, NATS, and the networks between them: all state of a run. */
export class World {
  readonly schedule: Schedule;
  readonly timeline: Timeline;
  readonly grinder: Grinder;
  readonly network: SimulatedNetwork;
  readonly nats: SimulatedNats;
  readonly guest: SimulatedGuest;
  readonly hosts = new Map<string, SimulatedHost>();
  readonly instances: SimulatedInstance[] = [];
  readonly agents = new Map<string, LivingAgent>();
  readonly coordinators: (LivingCoordinator | null)[] = [];
  readonly control: Peer;
  readonly trace: Trace | undefined;
  /** Called before each operation of each gate. */
  beforeOperation: (hostId: string, ...told: Parameters<BeforeOperation>) => void = () => {};
  readonly commands: CommandCarrier;
  readonly loss = new GuestLoss(this);
  /** Migrations whose guest an operator would have given up. */
  readonly askedToGiveUp = new Set<string>();
  /** When somebody last undid a registration. */
  driftedAtUs = Number.NEGATIVE_INFINITY;
  /** How often somebody did. */
  drifts = 0;
  /** How often of it the kernel told nobody. */
  untoldDrifts = 0;
  /** A registration that a mere frame moved, in words. */
  registrationStolen: string | null = null;
  /** A hand-off that left its host and is not in its journal, in words. */
  wordNotJournaled: string | null = null;
  readonly breakage: Breakage;
  readonly #random: Random;
  readonly #qemuRandom: Random;
  readonly #ports = new Map<number, Qemu>();
  readonly #agentStarts = new Map<string, readonly bigint[]>();

  constructor(schedule: Schedule, breakage: Breakage, trace?: Trace) {
    const { seed } = schedule;
    this.schedule = schedule;
    this.trace = trace;
    this.breakage = breakage;
    this.timeline = new Timeline(new Random(seed, 1));
    this.#random = new Random(seed, 2);
    this.commands = new CommandCarrier(this, this.#random);
    this.#qemuRandom = new Random(seed, 3);
    this.grinder = new Grinder(schedule.grain ?? "fine", new Random(seed, 6));
    this.network = new SimulatedNetwork(this.timeline, new Random(seed, 4), this.grinder);
    this.nats = new SimulatedNats(this.timeline, this.network, this.grinder);
    const macAddresses = wiringOf(schedule).map((_, index) => `52:54:00:00:00:0${index + 1}`);
    this.guest = new SimulatedGuest(GUEST_ID, macAddresses);
    this.control = { node: CONTROL_PLANE, process: new SimulatedProcess(CONTROL_PLANE, this.timeline) };
    for (const hostId of HOST_IDS) {
      const onStolen = () => this.#entryStolen(hostId);
      const host = new SimulatedHost(
        hostId,
        new Random(seed, 5),
        this.grinder,
        breakage.registration,
        onStolen,
      );
      this.hosts.set(hostId, host);
    }
    this.nats.feed.mayLackNumbers = (subject) =>
      [...this.hosts.values()].some(
        ({ disk, hostId }) => (disk.refusedSpool || disk.losses > 0) && subject.endsWith(`.${hostId}`),
      );
    // A journal that lost what it had not synced says it anew.
    this.nats.feed.hasLostWords = (hostId) => (this.hosts.get(hostId)?.boots ?? 1) > 1;
    this.nats.feed.lifeBeganUnixUs = (hostId, atUnixUs) =>
      this.#agentStarts.get(hostId)?.findLast((began) => began <= atUnixUs) ?? 0n;
    if (schedule.feed === "heard") this.nats.feed.onHostEvent = (event) => this.#bringToCoordinators(event);
    this.guest.onResume = (qemu) => {
      this.trace?.(qemu.parts.name, `RESUME by ${qemu.startedBy}`);
      // What a stranger told a VMM that still loaded comes after what its owner wished since; no agent is there to stop it.
      if (qemu.startedBy === "stranger" && this.instanceOf(qemu)?.isKnown === false)
        this.guest.wanted = "either";
      this.#sendFrames(qemu, this.#random.between(60, 400));
    };
    this.guest.onStop = (qemu) => {
      this.trace?.(qemu.parts.name, "STOP");
      // What it said just before may still be on its way for long: traps 1 and 2.
      this.#sendFrames(qemu, this.#random.spread(200, 100_000));
    };
  }

  /** Every transfer between QEMUs, also those that are over. */
  get transfers(): readonly Transfer[] {
    const transfers = new Set<Transfer>();
    for (const { transfer } of this.guest.qemus) if (transfer !== null) transfers.add(transfer);
    return [...transfers];
  }

  host(hostId: string): SimulatedHost {
    const host = this.hosts.get(hostId);
    if (host === undefined) throw new Error(`There is no host ${hostId}.`);
    return host;
  }

  instanceOf(qemu: Qemu): SimulatedInstance | undefined {
    return this.instances.find((instance) => instance.qemu === qemu);
  }

  /** Starts a QEMU as a control plane does. */
  startQemu(
    hostId: string,
    instanceId: string,
    nics: SimulatedInstance["nics"],
    role: "boot" | "incoming",
  ): SimulatedInstance {
    const { timeline, guest, schedule } = this;
    const host = this.host(hostId);
    const qmpPath = `/run/${instanceId}.qmp`;
    const qemu = new Qemu(
      {
        name: `${hostId}/${instanceId}`,
        version: schedule.qemu,
        timeline,
        random: this.#qemuRandom,
        guest,
        ports: {
          listen: (listening, wanted) => {
            const port = wanted === 0 ? FIRST_PORT + this.#ports.size * 20 : wanted;
            this.#ports.set(port, listening);
            return port;
          },
          find: (port) => this.#ports.get(port),
        },
        copyUs: schedule.copyUs,
        pagesUs: schedule.pagesUs,
      },
      role,
    );
    guest.qemus.push(qemu);
    host.qemus.set(qmpPath, qemu);
    const read = { kernel: null, changes: 0, registrations: "none" } as const;
    const instance: SimulatedInstance = {
      instanceId,
      host,
      qmpPath,
      nics,
      qemu,
      isKnown: true,
      runsAgainstItsWord: false,
      read: { ...read },
    };
    this.instances.push(instance);
    return instance;
  }

  startAgent(hostId: string): void {
    const present = this.agents.get(hostId);
    if (present !== undefined && present.process.state !== "dead") return;
    const process = new SimulatedProcess(`agent ${hostId}`, this.timeline);
    this.trace?.(process.name, "started");
    const startedAtUnixUs = BigInt(EPOCH_UNIX_US + this.timeline.nowUs);
    this.#agentStarts.set(hostId, [...(this.#agentStarts.get(hostId) ?? []), startedAtUnixUs]);
    const agent = this.#tryToStart(hostId, process);
    if (agent === null) return;
    // A killed agent's promises may break; nobody waits for them.
    agent.restored.catch(() => {});
    this.agents.set(hostId, { node: hostId, process, agent });
  }

  /** One that cannot start is started again by its host's init system. */
  #tryToStart(hostId: string, process: SimulatedProcess): HostAgent | null {
    const ports = agentPortsOf(this, hostId, process, this.#random, this.#logOf(process.name));
    try {
      return new HostAgent(this.breakage.agentPorts(ports));
    } catch (thrown) {
      this.trace?.(process.name, `did not start: ${SwitchoverError.from(thrown).message}`);
      process.kill();
      this.timeline.after(START_AGAIN_US, () => this.startAgent(hostId));
      return null;
    }
  }

  startCoordinator(index: number): void {
    if (this.coordinators[index] != null) return;
    const name = `coordinator-${index + 1}`;
    const process = new SimulatedProcess(name, this.timeline);
    const peer: Peer = { node: name, process };
    const { timeline, grinder, network, nats } = this;
    const agents = agentPortOver(
      {
        network,
        timeline,
        grinder,
        findAgent: (hostId) => this.agents.get(hostId) ?? null,
        carryOut: (hostId, command, request, agent) =>
          this.commands.carryOut(hostId, command, request, agent),
      },
      peer,
    );
    const store = nats.recordStore(peer);
    const runner = new MigrationRunner(
      {
        store,
        agents: this.breakage.agentPort(agents),
        feed: nats.feedPort(peer),
        fencing: { fence: (hostId) => this.#fence(hostId) },
        // One guest alone never waits for others; test/unit/admission-property.test.ts plays many.
        admission: OPEN_DOOR,
        clock: process,
        log: this.#logOf(name),
      },
      this.schedule.patience === "short" ? { unansweredForMs: SHORT_PATIENCE_MS } : {},
    );
    const hosts = { get: async (hostId: HostId) => HostRecord.fromPartial({ hostId }) };
    const api = new MigrationApi({
      store,
      hosts,
      agents,
      clock: process,
      random: () => this.#random.next(),
      runner,
      admission: OPEN_DOOR,
      draining: new DrainingHosts(),
      moveBudget: null,
    });
    this.coordinators[index] = { runner, api, ...peer };
    this.trace?.(name, "started");
    const resume = (): void => {
      if (process.state !== "dead") runner.resume().catch(() => process.after(500, resume));
    };
    resume();
  }

  killAgent(hostId: string): void {
    this.trace?.(`agent ${hostId}`, "KILLED");
    this.agents.get(hostId)?.process.kill();
  }

  killCoordinator(index: number): void {
    const coordinator = this.coordinators[index];
    if (coordinator == null) return;
    this.trace?.(coordinator.node, "KILLED");
    coordinator.process.kill();
    coordinator.runner.close();
    this.coordinators[index] = null;
  }

  /** Its agent dies, and the next one finds nothing of what it had written. */
  loseState(hostId: string): void {
    this.killAgent(hostId);
    this.trace?.(hostId, "STATE LOST");
    const host = this.host(hostId);
    const instances = this.instances.filter((instance) => instance.host === host);
    // What its owner had a guest do since it was armed, the source's journal alone knows.
    if (instances.some((instance) => hasSaid(instance, "runStateNoted"))) this.guest.wanted = "either";
    this.loss.beforeStateIsLost(hostId);
    for (const instance of instances)
      instance.runsAgainstItsWord ||= instance.qemu.isRunning && hasGivenAway(instance);
    host.disk.lose();
    for (const instance of instances) instance.isKnown = false;
    this.commands.forgetHost(hostId);
  }

  /** Somebody undoes registrations, or makes it possible again to mend them. */
  noteDrift(): void {
    this.driftedAtUs = this.timeline.nowUs;
    this.drifts += 1;
  }

  /** Powered off, with the statement that it is. */
  fenceHost(hostId: string): void {
    this.crashHost(hostId);
    this.guest.giveUpTheDead();
  }

  crashHost(hostId: string): void {
    this.killAgent(hostId);
    this.trace?.(hostId, "CRASHED");
    const host = this.host(hostId);
    for (const qemu of host.qemus.values()) this.loss.takeAway(qemu, `${hostId} crashed.`, "with its host");
    host.crash();
  }

  /** How many events of agents that live the feed still lacks, once that is none or after the time. */
  async unsentEvents(withinMs: number): Promise<number> {
    const living = [...this.agents.values()].filter(({ process }) => process.state === "running");
    const counts = await Promise.all(living.map(({ agent }) => agent.feedDrained(withinMs)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  close(): void {
    for (const coordinator of this.coordinators) coordinator?.runner.close();
    for (const { process } of this.agents.values()) process.kill();
    this.control.process.kill();
    this.nats.close();
    for (const { qemu } of this.instances) qemu.kill();
    this.timeline.clear();
    this.agents.clear();
    this.hosts.clear();
    this.coordinators.length = 0;
    this.instances.length = 0;
    this.#ports.clear();
  }

  #entryStolen(hostId: string): void {
    const cut = this.instances.find(({ host, qemu }) => host.hostId === hostId && qemu.isRunning);
    if (cut !== undefined) {
      this.registrationStolen ??= `A late frame took the registration of ${cut.qemu.parts.name} away.`;
    }
  }

  async #fence(hostId: string): Promise<void> {
    this.fenceHost(hostId);
  }

  /** Coordinators consume what agents put into the stream. */
  #bringToCoordinators(event: FeedEvent): void {
    this.trace?.("feed", `${event.hostId} ${event.sequence} ${saidIn(event)}`);
    for (const coordinator of this.coordinators) {
      if (coordinator == null) continue;
      this.network.passOn(NATS, coordinator.node, () =>
        coordinator.process.run(() => coordinator.runner.onFeedEvent(event)),
      );
    }
  }

  /** Frames of the guest come in by the uplinks of all other hosts, and by its own taps where it still runs. */
  #sendFrames(qemu: Qemu, delayUs: number): void {
    const instance = this.instanceOf(qemu);
    this.timeline.after(delayUs, () => {
      for (const { deviceName, kind, macAddress } of instance?.nics ?? []) {
        if (kind !== "tap" && kind !== "kernelTap") continue;
        for (const host of this.hosts.values()) {
          if (host !== instance?.host) host.kernel.hearFrame(UPLINK, macAddress);
          else if (qemu.isRunning) host.kernel.hearFrame(deviceName, macAddress);
        }
      }
    });
  }

  #logOf(name: string): Log {
    const { trace } = this;
    if (trace === undefined) return SILENT;
    const tell = (_fields: LogFields, sentence: string) => trace(name, sentence);
    return { debug: () => {}, info: () => {}, warn: tell, error: tell };
  }
}

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

function saidIn({ event }: FeedEvent): string {
  if (event?.$case === "alarmRaised") return `alarm ${event.value.reason}: ${event.value.sentence}`;
  return event?.$case === "transferStatusChanged" ? event.value.status : `${event?.$case}`;
}
