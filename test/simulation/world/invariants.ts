import { BRIDGE } from "../model/host.ts";
import type { Qemu } from "../model/qemu.ts";
import { heardAnewSinceUs } from "../model/qmp-link.ts";
import { hasGivenAway, hasSaid } from "./journaled.ts";
import { isLacking, isRegistered, type Registrations, registrationOf } from "./registrations.ts";
import type { SimulatedInstance, SimulatedNic, World } from "./world.ts";

export type InvariantName = "I1" | "I2" | "I3" | "I4" | "I5" | "I6" | "I7" | "I8";

export interface Violation {
  readonly invariant: InvariantName;
  readonly sentence: string;
}

/** What each invariant says, for people. */
export const INVARIANTS: Readonly<Record<InvariantName, string>> = {
  I1: "A guest's MAC is never registered by two instances at once on the same L2 segment.",
  I2: "No CPU of an instance starts before its registrations are in the kernel and read back, except where QEMU resumes its own guest: then within the rollback bound.",
  I3: "An instance whose CPUs are stopped has no registration, beyond the deregistration bound, but while it holds the right to run and its agent is to let it stay registered for what stopped it.",
  I4: "No two instances of a guest ever run, and none goes on from an older state than the guest has reached, but by the statement that the host with the newer one is dead.",
  I5: "A running guest always has all its registrations, beyond the repair bound.",
  I6: "An operation of a lower epoch or an older revision changes nothing, whenever it arrives.",
  I7: "No event that an agent or coordinator acted on is missing from the feed; each appears once and in per-migration order.",
  I8: "Killing any one process at any instant loses no migration, no guest and no record; with everything healthy again, no guest stays paused and no migration open.",
};

/** Bounds, in microseconds of an agent that runs: from when it could know, or from its own start. */
export const BOUNDS = {
  /** I3: from STOP. A QMP event takes at most 80 us here, and what is before it in the agent's queue. */
  deregistrationUs: 2_000,
  /**
   * I2: from a drift until its agent has heard of it, while that runs. The kernel's word takes at most 100 us here, and
   * what is before it in the agent's queue.
   */
  toldUs: 200,
  /** I5: from a RESUME that was not asked for. */
  rollbackUs: 5_000,
  /** I5: the same where somebody undoes what was mended: that is damped. */
  dampedUs: 1_500_000,
  /** I5: the same where the kernel told nobody, and it is found by a look that comes by itself. */
  auditUs: 11_500_000,
  /** I4: how long a stranger's `cont` may last where the guest is not this host's. */
  guardUs: 2_000,
  /** After its start an agent reads journal, kernel and QMP first. */
  restartUs: 100_000,
  /** A VMM that did not answer its agent's connection is tried again this often. */
  reconnectUs: 3_000_000,
  /** One that was stopped itself, and left a question unanswered, is asked again this often. */
  askAgainUs: 1_200_000,
  /** From there on it is asked how it stands. */
  rejoinUs: 20_000,
} as const;

/** Since when instances are as they should not stay; those that are not have no time. */
type Since = Map<SimulatedInstance, number>;

/** Checks a world after each of its steps. Remembers how long things have been as they must not stay. */
export class InvariantChecker {
  readonly #world: World;
  readonly #registeredWhileStopped: Since = new Map();
  readonly #unregisteredWhileRunning: Since = new Map();
  checks = 0;

  constructor(world: World) {
    this.#world = world;
    const told = world.guest.onResume;
    world.guest.onResume = (qemu) => {
      const instance = world.instanceOf(qemu);
      if (instance !== undefined) {
        this.#startedUnregistered(instance);
        // However shortly it runs, what it was registered for has come.
        this.#registeredWhileStopped.delete(instance);
      }
      told(qemu);
    };
  }

  #found: Violation | null = null;

  /** The first violation that this step shows. */
  check(): Violation | null {
    this.checks += 8;
    const { guest, nats, instances } = this.#world;
    let registered: SimulatedInstance | null = null;
    let running: SimulatedInstance | null = null;
    for (const instance of instances) {
      const { qemu } = instance;
      const registration = registrationOf(instance);
      if (isRegistered(registration)) {
        if (registered !== null)
          this.#violated("I1", `${nameOf(registered)} and ${nameOf(instance)} are both registered.`);
        registered = instance;
      }
      if (qemu.isRunning) {
        if (running !== null) this.#ranTwice(running, instance);
        running = instance;
      }
      this.#boundStopped(instance, registration);
      this.#boundRunning(instance, registration);
    }
    this.#noted("I4", guest.wentBackwards);
    this.#noted("I5", this.#world.registrationStolen);
    this.#noted("I6", this.#world.commands.staleOneTaken);
    this.#noted("I8", this.#world.wordNotJournaled);
    this.#noted("I8", this.#world.loss.fault());
    this.#noted("I7", nats.feed.fault);
    return this.#found;
  }

  /** What a stranger starts, its agent stops at once. */
  #ranTwice(one: SimulatedInstance, other: SimulatedInstance): void {
    const rogue = [one, other].find(({ qemu }) => qemu.startedBy === "stranger");
    if (rogue !== undefined) {
      // Of what it does not know an agent can stop nothing.
      if (!rogue.isKnown) return;
      const agent = this.#world.agents.get(rogue.host.hostId)?.process;
      if (agent?.state !== "running" || rogue.qemu.process.state !== "running") return;
      const fromUs = Math.max(
        rogue.qemu.cpusSinceUs,
        rogue.qemu.process.runsSinceUs,
        agent.runsSinceUs === 0 ? 0 : agent.runsSinceUs + BOUNDS.restartUs,
      );
      if (this.#world.timeline.nowUs - fromUs <= BOUNDS.guardUs) return;
    }
    this.#violated("I4", `${nameOf(one)} and ${nameOf(other)} both run.`);
  }

  /** I2: `cont` is sent by an agent only once all registrations are there. */
  #startedUnregistered(instance: SimulatedInstance): void {
    const { isKnown, qemu } = instance;
    // The `cont` of an agent that was made to forget is nobody's, once the NICs were prepared anew.
    if (!isKnown || qemu.startedBy !== "cont" || !isLacking(registrationOf(instance))) return;
    // It stopped once `cont` was on its way, and that is for I5, as is what was read back and somebody has undone.
    if (qemu.stoppedAtUs >= qemu.contSent.atUs || this.#wasUntold(instance)) return;
    this.#violated(
      "I2",
      `${nameOf(instance)} began to run with ${registrationOf(instance)} of its NICs registered.`,
    );
  }

  /**
   * Whether an agent that sent `cont` could not know of the last drift: it came just before, while the agent was stopped,
   * or since. What the kernel tells nobody may have come at any time since the read-back, for which I3 has its bound.
   */
  #wasUntold({ host, qemu: { contSent } }: SimulatedInstance): boolean {
    const { drifts, driftedAtUs, untoldDrifts } = this.#world;
    if (drifts === 0) return false;
    const isTold = untoldDrifts === 0 && host.changes === "told";
    const knownAfterUs = isTold ? BOUNDS.toldUs : BOUNDS.deregistrationUs;
    return contSent.atUs <= Math.max(driftedAtUs, contSent.agentRunsSinceUs) + knownAfterUs;
  }

  #boundStopped(instance: SimulatedInstance, registration: Registrations): void {
    const { qemu } = instance;
    // Of what it does not know an agent can hold no bounds.
    const isBad =
      instance.isKnown &&
      isRegistered(registration) &&
      !qemu.isRunning &&
      qemu.process.state !== "stopped" &&
      !this.#mayStay(instance);
    const boundUs = qemu.contOnTheWay > 0 ? Number.POSITIVE_INFINITY : BOUNDS.deregistrationUs;
    this.#bound(
      "I3",
      this.#registeredWhileStopped,
      instance,
      isBad,
      boundUs,
      "is registered with its CPUs stopped",
    );
  }

  /** Of a guest that stood, a transfer's end alone makes another's. */
  #mayStay(instance: SimulatedInstance): boolean {
    const { schedule } = this.#world;
    const { qemu } = instance;
    // One that was taken over stopped, and whose start broke off once it was registered, stays so like one that stopped here.
    const stoppedAs =
      qemu.stoppedAs === "" && hasSaid(instance, "takenOverPaused") ? qemu.runState : qemu.stoppedAs;
    if (schedule.staysRegisteredFor?.includes(stoppedAs) !== true) return false;
    return !hasGivenAway(instance) && qemu.runState !== "postmigrate";
  }

  #boundRunning(instance: SimulatedInstance, registration: Registrations): void {
    const { qemu } = instance;
    const isBad =
      instance.isKnown &&
      isLacking(registration) &&
      qemu.isRunning &&
      qemu.process.state !== "stopped" &&
      canBeMended(instance);
    this.#bound(
      "I5",
      this.#unregisteredWhileRunning,
      instance,
      isBad,
      this.#mendingBoundUs(),
      "runs without all its registrations",
    );
  }

  #mendingBoundUs(): number {
    const { drifts, untoldDrifts } = this.#world;
    if (untoldDrifts > 0) return BOUNDS.auditUs;
    return drifts > 1 ? BOUNDS.dampedUs : BOUNDS.rollbackUs;
  }

  #bound(
    invariant: InvariantName,
    since: Since,
    instance: SimulatedInstance,
    isBad: boolean,
    boundUs: number,
    what: string,
  ): void {
    if (!isBad) {
      if (since.size > 0) since.delete(instance);
      return;
    }
    const { agents, timeline } = this.#world;
    const sinceUs = since.get(instance) ?? timeline.nowUs;
    since.set(instance, sinceUs);
    const agent = agents.get(instance.host.hostId)?.process;
    // Bounds count while the agent runs.
    if (agent?.state !== "running") return;
    const fromUs = Math.max(
      sinceUs,
      fromWhenHeardUs(instance.qemu),
      agent.runsSinceUs === 0 ? 0 : agent.runsSinceUs + BOUNDS.restartUs,
    );
    if (timeline.nowUs - fromUs > boundUs) {
      this.#violated(invariant, `${nameOf(instance)} ${what} for ${timeline.nowUs - sinceUs} us.`);
    }
  }

  #noted(invariant: InvariantName, sentence: string | null): void {
    if (sentence !== null) this.#violated(invariant, sentence);
  }

  #violated(invariant: InvariantName, sentence: string): void {
    this.#found ??= { invariant, sentence };
  }
}

/** From when on its agent could know how a VMM stands. */
function fromWhenHeardUs(qemu: Qemu): number {
  const anewAtUs = heardAnewSinceUs(qemu);
  const { process } = qemu;
  if (anewAtUs === null) return process.runsSinceUs + BOUNDS.reconnectUs;
  const answersFromUs = process.stops === 0 ? 0 : process.runsSinceUs + BOUNDS.askAgainUs;
  return Math.max(answersFromUs, anewAtUs === 0 ? 0 : anewAtUs + BOUNDS.rejoinUs);
}

function canBeMended({ host, nics }: SimulatedInstance): boolean {
  return host.changes === "told" && (host.hasBridge || !nics.some(isOnBridge));
}

function isOnBridge({ kind }: SimulatedNic): boolean {
  return kind === "tap" || kind === "kernelTap";
}

function nameOf({ host, instanceId }: SimulatedInstance): string {
  return `${host.hostId}/${instanceId}`;
}

/** What the bridges hold, for a trace. */
export function describeEntries(world: World): string {
  return [...world.hosts.values()]
    .map(({ hostId, kernel }) => `${hostId}: ${kernel.renderEntries().replaceAll("\n", "; ")}`)
    .join(" | ")
    .replaceAll(BRIDGE, "");
}
