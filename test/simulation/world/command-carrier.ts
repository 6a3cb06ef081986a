import type { HostAgent } from "../../../agent/host-agent.ts";
import { fenceOf, newestFenceIn } from "../../../agent/journal/journal.ts";
import { Applied } from "../../../proto/gen/switchover/v1/guest.ts";
import type { Random } from "../engine/random.ts";
import type { Timeline } from "../engine/timeline.ts";
import { type AgentCommand, commandOf } from "../model/agent-wire.ts";
import type { Peer } from "../model/call.ts";
import type { SimulatedGuest } from "../model/guest.ts";
import type { SimulatedHost } from "../model/host.ts";
import type { Breakage, SeenFence } from "./breakage.ts";
import type { OvertakenCommand } from "./schedule.ts";
import type { SimulatedInstance } from "./world.ts";

/** What commands meet on their way. */
export interface CommandsWorld {
  readonly timeline: Timeline;
  readonly agents: ReadonlyMap<string, Peer & { readonly agent: HostAgent }>;
  readonly guest: SimulatedGuest;
  readonly breakage: Breakage;
  readonly trace: ((who: string, what: string) => void) | undefined;
  host(hostId: string): SimulatedHost;
}

/** Brings coordinators' commands to agents: once, or again later, and sees what becomes of those overtaken (I6). */
export class CommandCarrier {
  /** Commands come a second time, up to so long after the first; 0: once. Microseconds. */
  repeatWithinUs = 0;
  /** A command that did something although a newer one had come before it, in words. */
  staleOneTaken: string | null = null;
  readonly #world: CommandsWorld;
  readonly #random: Random;
  /** By host and instance. */
  readonly #newestFences = new Map<string, SeenFence>();
  /** The last request of each command, for whichever instance. */
  readonly #lastRequests = new Map<AgentCommand, object>();

  constructor(world: CommandsWorld, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  /** Whatever the host has acted on for the guest before, the instance that is adopted now is newer than that. */
  noteAdoption({ host, instanceId }: SimulatedInstance): void {
    const newest = newestFenceIn(host.disk.read(this.#world.guest.guestId));
    if (newest.epoch > 0n) this.#newestFences.set(keyOf(host.hostId, instanceId), newest);
  }

  /** The host's agent has lost what it knew. */
  forgetHost(hostId: string): void {
    for (const key of this.#newestFences.keys())
      if (key.startsWith(keyOf(hostId, ""))) this.#newestFences.delete(key);
  }

  /** A coordinator that was away, or one with an older copy of the records, orders what a newer order has overtaken. */
  bringOvertaken({ host, instanceId }: SimulatedInstance, command: OvertakenCommand): void {
    const { hostId } = host;
    const living = this.#world.agents.get(hostId);
    const request = this.#lastRequests.get(command);
    const newest = this.#newestFences.get(keyOf(hostId, instanceId));
    if (living === undefined || request === undefined || newest === undefined) return;
    const { epoch, revision } = newest;
    const fence = epoch > 1n ? { epoch: epoch - 1n, revision } : { epoch, revision: revision - 1n };
    living.process.run(() => {
      this.#carryOutOnce(hostId, command, { ...request, instanceId, fence }, living.agent).catch(() => {});
    });
  }

  /** Has the agent carry the command out, and perhaps once more when it comes again. */
  carryOut(hostId: string, command: AgentCommand, request: unknown, agent: HostAgent): Promise<unknown> {
    this.#lastRequests.set(command, request as object);
    if (this.repeatWithinUs > 0) {
      this.#world.timeline.after(this.#random.spread(200, this.repeatWithinUs), () => {
        const living = this.#world.agents.get(hostId);
        if (living === undefined || living.process.state === "dead") return;
        living.process.run(() => {
          this.#carryOutOnce(hostId, command, request, living.agent).catch(() => {});
        });
      });
    }
    return this.#carryOutOnce(hostId, command, request, agent);
  }

  /**
   * Notes where a command that a newer has overtaken is not refused, and changes something (I6). That an instance is
   * forgotten comes of its VMM's end, whoever asks for something meanwhile.
   */
  async #carryOutOnce(
    hostId: string,
    command: AgentCommand,
    request: unknown,
    agent: HostAgent,
  ): Promise<unknown> {
    const { fence, instanceId } = request as { readonly fence?: SeenFence; readonly instanceId: string };
    const key = keyOf(hostId, instanceId);
    this.#world.trace?.(`agent ${hostId}`, `asked ${command} ${fence?.epoch}.${fence?.revision}`);
    const changes = fence !== undefined && command !== "getHandOff";
    const newest = this.#newestFences.get(key);
    const isStale = changes && newest !== undefined && isOlder(fence, newest);
    const { guest } = this.#world;
    const { disk } = this.#world.host(hostId);
    const asked = this.#world.breakage.request(request, newest);
    // What is journaled of other things meanwhile is none of this command's doing.
    const wordsOf = () =>
      disk
        .read(guest.guestId)
        .filter((entry) => entry.instanceId === instanceId && isUnder(asked, fenceOf(entry.word))).length;
    const said = isStale ? wordsOf() : 0;
    try {
      const answer = await commandOf(agent, command, asked);
      const { applied } = answer as { readonly applied?: Applied };
      if (isStale && (applied === undefined ? wordsOf() > said : applied === Applied.CHANGED)) {
        this.staleOneTaken ??= `${hostId} carried out ${command} of ${fence.epoch}.${fence.revision} after ${newest.epoch}.${newest.revision}.`;
      } else if (changes && !isStale) this.#newestFences.set(key, fence);
      this.#world.trace?.(`agent ${hostId}`, `answered ${command}`);
      return answer;
    } catch (thrown) {
      this.#world.trace?.(`agent ${hostId}`, `refused ${command}: ${(thrown as Error).message}`);
      throw thrown;
    }
  }
}

function isUnder(request: unknown, { epoch, revision }: SeenFence): boolean {
  const { fence } = request as { readonly fence?: SeenFence };
  return fence?.epoch === epoch && fence.revision === revision;
}

function keyOf(hostId: string, instanceId: string): string {
  return `${hostId} ${instanceId}`;
}

function isOlder(left: SeenFence, right: SeenFence): boolean {
  return left.epoch < right.epoch || (left.epoch === right.epoch && left.revision < right.revision);
}
