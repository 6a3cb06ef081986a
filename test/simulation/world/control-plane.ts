import type { HostAgent } from "../../../agent/host-agent.ts";
import type { MigrationApi } from "../../../coordinator/migration-api.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import {
  type Migration,
  MigrationMode,
  MigrationSpec,
  Outcome,
  Phase,
} from "../../../proto/gen/switchover/v1/migration.ts";
import { callOver, type Peer } from "../model/call.ts";
import { GUEST_ID, HOST_IDS } from "./names.ts";
import { definitionsOf } from "./nic-definitions.ts";
import { NicPlugs } from "./nic-plugs.ts";
import type { PlannedMigration } from "./schedule.ts";
import type { LivingCoordinator, SimulatedInstance, World } from "./world.ts";

const CALL_DEADLINE_MS = 12_000;
const NOTICES_AFTER_MS = 1;
/** A control plane gives a migration up that so many attempts could not begin. */
const ATTEMPTS = 40;

const ATTEMPTS_TO_PREPARE = 5;

/** One parent has one device with an address, and one in passthrough; a VXLAN device has one entry for an address. */
const OCCUPIED: ReadonlySet<string> = new Set(["MAC_IN_USE", "PARENT_IN_USE", "VXLAN_IN_USE"]);
const TERMINAL: ReadonlySet<Phase> = new Set([Phase.COMPLETED, Phase.CANCELLED, Phase.FAILED]);
const UNANSWERED: ReadonlySet<string> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"]);

/** `certain`: what was refused had no effect. */
export type AgentsAnswer = "done" | { readonly error: SwitchoverError; readonly certain: boolean };

/** How the so-manyth migration ended; "refused" where none was begun. */
export type Ending = { readonly outcome: Outcome; readonly phase: Phase } | "refused";

/**
 * The cloud: starts QEMUs, asks for migrations, and ends the QEMUs that a migration's outcome leaves over. It believes
 * what it is told and sees nothing else.
 */
export class ControlPlane {
  readonly #world: World;
  readonly endings: Ending[] = [];
  /** The instance that has the guest, as far as the cloud knows; null once the guest is said to be lost. */
  owner: SimulatedInstance | null = null;
  source: SimulatedInstance | null = null;
  destination: SimulatedInstance | null = null;
  migrationId = "";
  #instances = 0;
  #wishes: Promise<void> = Promise.resolve();

  /** The hot-plugging of NICs. */
  readonly plugs: NicPlugs;

  constructor(world: World) {
    this.#world = world;
    this.plugs = new NicPlugs(world, (hostId, ask) => this.#keepAsking(hostId, ask));
  }

  /** Boots the guest on the first host, where nothing has gone wrong yet. */
  async boot(): Promise<void> {
    this.owner = await this.#prepareInstance("ha", "boot");
    await this.ownerWants("running");
    if (!this.owner.qemu.isRunning) throw new Error("The guest was not started at its first boot.");
  }

  async migrate(index: number, plan: PlannedMigration, begun: () => void): Promise<void> {
    const { owner } = this;
    if (owner === null) return;
    await this.adoptAgain((instance) => instance === owner);
    if (this.#world.guest.wanted !== plan.guest) await this.ownerWants(plan.guest);
    const plugged = plan.plugs === undefined ? "done" : await this.plugs.change(owner, plan.plugs, "firm");
    // Before the first migration nothing has gone wrong.
    if (index === 0 && plugged !== "done") throw plugged.error;
    const others = HOST_IDS.filter((hostId) => hostId !== owner.host.hostId);
    this.source = owner;
    this.destination = null;
    this.migrationId = "";
    begun();
    const destination = await this.#tryPrepare(others[plan.to] ?? "hb");
    this.destination = destination;
    if (destination === null) {
      this.endings[index] = "refused";
      return;
    }
    const begunMigration = await this.#start(index, plan, owner, destination);
    if (begunMigration === null) {
      destination.qemu.kill();
      this.endings[index] = "refused";
      return;
    }
    this.migrationId = begunMigration.migrationId;
    const ended = await this.#ended(begunMigration.migrationId);
    this.endings[index] = { outcome: ended.outcome, phase: ended.phase };
    this.#world.trace?.(
      "control",
      `the migration is ${ended.phase}, outcome ${ended.outcome}: ${ended.reason}`,
    );
    const isGivenUp =
      ended.outcome === Outcome.GUEST_LOST && this.#world.askedToGiveUp.has(ended.migrationId);
    if (isGivenUp) this.#world.guest.lostForCause ??= "An operator gave the guest up.";
    await this.#cleanUp(ended, owner, destination);
  }

  /** Starts or stops the guest's CPUs as its owner wishes, one wish after another; what is refused is left. */
  ownerWants(
    wanted: "running" | "stopped",
    seen: "nothing" | "runs nowhere else" = "nothing",
  ): Promise<void> {
    const wishedAtUs = this.#world.timeline.nowUs;
    this.#wishes = this.#wishes.then(() =>
      this.#askForOwner(wanted, seen === "runs nowhere else", wishedAtUs),
    );
    return this.#wishes;
  }

  async #askForOwner(
    wanted: "running" | "stopped",
    runsNowhereElse: boolean,
    wishedAtUs: number,
  ): Promise<void> {
    const { owner } = this;
    const { guest } = this.#world;
    if (owner === null) return;
    const { wanted: before } = guest;
    guest.wanted = "either";
    const method = wanted === "running" ? "startCpus" : "stopCpus";
    const ending = await this.#keepAsking(owner.host.hostId, (agent) =>
      agent[method]({ guestId: GUEST_ID, instanceId: owner.instanceId, runsNowhereElse }),
    );
    // Who knows which of the two the CPUs heard last, also where both spoke at one moment.
    if (guest.meddledAtUs >= wishedAtUs) return;
    // An instance whose QEMU is gone is stopped, whatever becomes of its guest; what a full disk does not take of it, a
    // killed agent forgets.
    const holds = owner.qemu.isAlive && owner.host.disk.room === "some";
    if (ending === "done" && holds) guest.wanted = wanted;
    else if (ending !== "done" && ending.certain) guest.wanted = before;
  }

  async #cleanUp(ended: Migration, source: SimulatedInstance, destination: SimulatedInstance): Promise<void> {
    switch (ended.outcome) {
      case Outcome.RUNS_ON_DESTINATION:
      case Outcome.PAUSED_ON_DESTINATION:
        this.owner = destination;
        await this.#pause(5);
        source.qemu.kill();
        return;
      case Outcome.RUNS_ON_SOURCE:
      case Outcome.PAUSED_ON_SOURCE:
        await this.#pause(5);
        destination.qemu.kill();
        return;
      default:
        this.owner = null;
        source.qemu.kill();
        destination.qemu.kill();
    }
  }

  async #start(
    index: number,
    plan: PlannedMigration,
    source: SimulatedInstance,
    destination: SimulatedInstance,
  ): Promise<Migration | null> {
    const spec = MigrationSpec.fromPartial({
      guestId: GUEST_ID,
      sourceHostId: source.host.hostId,
      sourceInstanceId: source.instanceId,
      destinationHostId: destination.host.hostId,
      destinationInstanceId: destination.instanceId,
      mode: plan.mode === "live" ? MigrationMode.LIVE : MigrationMode.POST_COPY,
      ...(plan.mode === "postCopy" &&
        plan.postCopyAfterMs > 0 && {
          postCopy: { trigger: { $case: "afterMs" as const, value: plan.postCopyAfterMs } },
        }),
    });
    const requestId = `request-${index}`;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      try {
        const { migration } = await this.askCoordinator(index + attempt, (coordinator) =>
          coordinator.api.startMigration({ requestId, spec, validateOnly: false }),
        );
        if (migration !== undefined) return migration;
      } catch (thrown) {
        const { code, message } = SwitchoverError.from(thrown);
        this.#world.trace?.("control", `StartMigration: ${message}`);
        if (!UNANSWERED.has(code) && code !== "ABORTED") return null;
      }
      await this.#pause(100 + 50 * attempt);
    }
    return null;
  }

  /** Asks something of the migration that goes on, of any coordinator, until one answers; what is refused is left. */
  async intervene(ask: (api: MigrationApi, migrationId: string) => Promise<unknown>): Promise<void> {
    const { migrationId } = this;
    if (migrationId === "") return;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      try {
        await this.askCoordinator(attempt, ({ api }) => ask(api, migrationId));
        return;
      } catch (thrown) {
        const { code, message } = SwitchoverError.from(thrown);
        this.#world.trace?.("control", `asked: ${message}`);
        if (!UNANSWERED.has(code) && code !== "ABORTED") return;
      }
      await this.#pause(100 + 50 * attempt);
    }
  }

  /** Asks one of the coordinators, over the network. */
  askCoordinator<Answer>(
    index: number,
    ask: (coordinator: LivingCoordinator) => Promise<Answer>,
  ): Promise<Answer> {
    const { coordinators, network, control, schedule } = this.#world;
    const which = index % schedule.coordinators;
    const node = `coordinator-${which + 1}`;
    const find = () => coordinators[which] ?? null;
    return callOver(network, control, find, { deadlineMs: CALL_DEADLINE_MS }, node, () => {
      const coordinator = find();
      if (coordinator === null)
        throw new SwitchoverError("UNAVAILABLE", "It is gone.", { reason: "UNREACHABLE" });
      return ask(coordinator);
    });
  }

  /** The migration once it is over, a little after that shows. */
  async #ended(migrationId: string): Promise<Migration> {
    const { nats } = this.#world;
    let migration = this.#over(migrationId);
    while (migration === undefined) {
      await nats.changed();
      migration = this.#over(migrationId);
    }
    await this.#pause(NOTICES_AFTER_MS);
    return migration;
  }

  #over(migrationId: string): Migration | undefined {
    const { nats } = this.#world;
    const held = nats.record(GUEST_ID)?.migration;
    const migration = held?.migration;
    const isOver = migration !== undefined && TERMINAL.has(migration.phase) && held?.archived === true;
    if (isOver && migration.migrationId === migrationId) return migration;
    return nats.archived(migrationId)?.migration;
  }

  async #tryPrepare(hostId: string): Promise<SimulatedInstance | null> {
    try {
      return await this.#prepareInstance(hostId, "incoming");
    } catch (thrown) {
      this.#world.trace?.("control", `preparing: ${SwitchoverError.from(thrown).message}`);
      return null;
    }
  }

  async #prepareInstance(hostId: string, role: "boot" | "incoming"): Promise<SimulatedInstance> {
    const number = ++this.#instances;
    const instanceId = `i${number}`;
    const nics = this.plugs.nicsFor(this.owner, `t${number}`);
    await this.#prepareNicsOnceFree(hostId, instanceId, nics);
    const instance = this.#world.startQemu(hostId, instanceId, this.plugs.asTheyStand(nics), role);
    try {
      await this.#adopt(instance);
    } catch (thrown) {
      instance.qemu.kill();
      throw thrown;
    }
    return instance;
  }

  /** Brings what lives and suits, and an agent has lost its memory of, under that agent's gate again. */
  async adoptAgain(suits: (instance: SimulatedInstance) => boolean): Promise<void> {
    for (const instance of this.#world.instances) {
      if (instance.isKnown || instance.runsAgainstItsWord) continue;
      if (!instance.qemu.isAlive || !suits(instance)) continue;
      try {
        await this.#prepareNics(instance.host.hostId, instance.instanceId, instance.nics);
        await this.#adopt(instance);
        instance.isKnown = true;
      } catch (thrown) {
        this.#world.trace?.("control", `adopting again: ${SwitchoverError.from(thrown).message}`);
      }
    }
  }

  /** Starts a guest that is to run and stands; that it runs nowhere else, its owner has seen. */
  async startAgain(): Promise<void> {
    const { owner } = this;
    const { guest } = this.#world;
    if (guest.wanted !== "running" || owner?.qemu.isAlive !== true || owner.qemu.isRunning) return;
    if (guest.qemus.some((qemu) => qemu.isRunning)) return;
    await this.ownerWants("running", "runs nowhere else");
  }

  /** Its agent hears a little later that the guest's former VMM there has ended, and frees what that had. */
  async #prepareNicsOnceFree(
    hostId: string,
    instanceId: string,
    nics: SimulatedInstance["nics"],
  ): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#prepareNics(hostId, instanceId, nics);
        return;
      } catch (thrown) {
        if (!OCCUPIED.has(SwitchoverError.from(thrown).reason) || attempt === ATTEMPTS_TO_PREPARE)
          throw thrown;
      }
      await this.#pause(100);
    }
  }

  #prepareNics(hostId: string, instanceId: string, nics: SimulatedInstance["nics"]): Promise<void> {
    const definitions = definitionsOf(nics, this.#world.breakage.entries);
    return this.#mustAsk(hostId, (agent) =>
      agent.prepareNics({ guestId: GUEST_ID, instanceId, nics: definitions, validateOnly: false }),
    );
  }

  async #adopt(instance: SimulatedInstance): Promise<void> {
    const { host, instanceId, qmpPath } = instance;
    this.#world.commands.noteAdoption(instance);
    await this.#mustAsk(host.hostId, (agent) =>
      agent.adoptGuest({ guestId: GUEST_ID, instanceId, qmpPath, externalCpuSource: undefined }),
    );
  }

  /** As `keepAsking`; throws what was refused. */
  async #mustAsk(hostId: string, ask: (agent: HostAgent) => Promise<unknown>): Promise<void> {
    const ending = await this.#keepAsking(hostId, ask);
    if (ending !== "done") throw ending.error;
  }

  /** Asks the host's agent until it answers; a refusal is certain where no attempt may have had an effect. */
  async #keepAsking(hostId: string, ask: (agent: HostAgent) => Promise<unknown>): Promise<AgentsAnswer> {
    const { agents, network, control } = this.#world;
    const find = (): Peer | null => agents.get(hostId) ?? null;
    let certain = true;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await callOver(network, control, find, { deadlineMs: CALL_DEADLINE_MS }, hostId, async () => {
          const living = agents.get(hostId);
          if (living !== undefined) await ask(living.agent);
        });
        return "done";
      } catch (thrown) {
        const error = SwitchoverError.from(thrown);
        // ABORTED: the CPUs were told, and it came to nothing.
        if (!UNANSWERED.has(error.code)) return { error, certain: certain && error.code !== "ABORTED" };
        certain = false;
        if (attempt === ATTEMPTS) return { error, certain };
      }
      await this.#pause(50 + 50 * attempt);
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#world.control.process.after(delayMs, resolve));
  }
}
